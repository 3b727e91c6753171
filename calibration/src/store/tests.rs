use super::*;
use crate::model::{CalibrationModel, Offset};
use crate::profile::tests::{networks, profile as any_profile};

/// A folder of its own for a test, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let name = format!("gaze-calibration-{}-{test}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn store(&self) -> ProfileStore {
        ProfileStore::new(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn anna() -> UserName {
    UserName::new("anna").unwrap()
}

fn profile(user: &str, shift: f32) -> Profile {
    Profile {
        user: UserName::new(user).unwrap(),
        model: CalibrationModel::Offset(Offset {
            shift: [shift, 0.0],
            gain: [1.0; 2],
        }),
        ..any_profile()
    }
}

#[test]
fn a_saved_profile_is_loaded_again() {
    let folder = Folder::new("load");
    let path = folder.store().save(&profile("anna", 0.1)).unwrap();
    assert_eq!(path, folder.store().path(&anna()));
    assert_eq!(folder.store().load(&anna()).unwrap(), profile("anna", 0.1));
}

#[test]
fn older_profiles_are_kept_in_order() {
    let folder = Folder::new("history");
    let store = folder.store();
    for shift in [0.1, 0.2, 0.3] {
        store.save(&profile("anna", shift)).unwrap();
    }
    store.save(&profile("anna.b", 0.9)).unwrap();
    assert_eq!(store.load(&anna()).unwrap(), profile("anna", 0.3));
    let history = store.history(&anna()).unwrap();
    let shifts: Vec<Profile> = history
        .iter()
        .map(|path| Profile::from_text(&fs::read_to_string(path).unwrap(), path).unwrap())
        .collect();
    assert_eq!(shifts, [profile("anna", 0.1), profile("anna", 0.2)]);
    assert!(history[1].ends_with("anna.2.toml"));
    let users: Vec<String> = store
        .users()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(users, ["anna", "anna.b"]);
    let left: Vec<String> = store.file_names().unwrap();
    assert!(left.iter().all(|name| !name.ends_with(".tmp")), "{left:?}");
}

#[test]
fn what_a_killed_process_left_is_never_read_and_goes() {
    let folder = Folder::new("abandoned");
    let store = folder.store();
    store.save(&profile("anna", 0.1)).unwrap();
    let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
    // Another process is writing the second, and the third is another person's.
    for (name, written) in [
        (".anna.77777777.tmp", long_ago),
        (".anna.77777777~.tmp", long_ago),
        (".anna.88888888.tmp", SystemTime::now()),
        (".anna.b.77777777.tmp", long_ago),
    ] {
        let file = File::create(folder.0.join(name)).unwrap();
        file.set_modified(written).unwrap();
    }
    let temporary = || {
        let mut names = store.file_names().unwrap();
        names.retain(|name| name.ends_with(".tmp"));
        names.sort();
        names
    };
    assert_eq!(store.load(&anna()).unwrap(), profile("anna", 0.1));
    assert_eq!(store.users().unwrap(), [anna()]);
    store.save(&profile("anna", 0.2)).unwrap();
    assert_eq!(temporary(), [".anna.88888888.tmp", ".anna.b.77777777.tmp"]);
    // Whoever is deleted leaves nothing behind.
    assert_eq!(store.delete(&anna()).unwrap(), 2);
    assert_eq!(temporary(), [".anna.b.77777777.tmp"]);
}

#[test]
fn a_person_without_a_profile_is_told_so() {
    let folder = Folder::new("missing");
    assert!(matches!(
        folder.store().load(&anna()),
        Err(ProfileError::Missing { .. })
    ));
    assert_eq!(folder.store().users().unwrap(), []);
}

#[test]
fn a_copied_profile_is_not_another_persons() {
    let folder = Folder::new("copied");
    let store = folder.store();
    let path = store.save(&profile("anna", 0.1)).unwrap();
    let ben = UserName::new("ben").unwrap();
    fs::copy(path, store.path(&ben)).unwrap();
    assert!(matches!(
        store.load(&ben),
        Err(ProfileError::OtherUser { .. })
    ));
}

#[test]
fn an_older_profile_is_taken_back_and_nothing_is_lost() {
    let folder = Folder::new("back");
    let store = folder.store();
    assert!(matches!(
        store.take_back(&anna(), None),
        Err(ProfileError::NoOlder { .. })
    ));
    for shift in [0.1, 0.2, 0.3] {
        store.save(&profile("anna", shift)).unwrap();
    }
    assert_eq!(
        store.take_back(&anna(), None).unwrap(),
        profile("anna", 0.2)
    );
    assert_eq!(store.load(&anna()).unwrap(), profile("anna", 0.2));
    // What was in force has become the latest of the older ones.
    assert_eq!(
        store.take_back(&anna(), None).unwrap(),
        profile("anna", 0.3)
    );
    assert_eq!(
        store.take_back(&anna(), Some(1)).unwrap(),
        profile("anna", 0.1)
    );
    assert!(matches!(
        store.take_back(&anna(), Some(77)),
        Err(ProfileError::NoOlder { .. })
    ));
}

#[test]
fn each_camera_finds_its_own_profile() {
    let folder = Folder::new("cameras");
    let store = folder.store();
    let mut at_desk = profile("anna", 0.1);
    at_desk.camera.id = "desk".to_owned();
    let mut on_lap = profile("anna", 0.2);
    on_lap.camera.id = "lap".to_owned();
    store.save(&at_desk).unwrap();
    store.save(&on_lap).unwrap();
    let found = |camera: &CameraSetup| {
        store
            .load_for(&anna(), camera, &on_lap.screen, &networks())
            .unwrap()
    };
    assert_eq!(found(&on_lap.camera), on_lap);
    assert_eq!(found(&at_desk.camera), at_desk);
    let mut unknown = at_desk.camera.clone();
    unknown.id = "third".to_owned();
    // None holds: the present one, which is stale then.
    assert_eq!(found(&unknown), on_lap);
}

#[test]
fn a_program_with_the_networks_of_before_finds_the_profile_of_before() {
    let folder = Folder::new("networks");
    let store = folder.store();
    let before = profile("anna", 0.1);
    let mut after = profile("anna", 0.2);
    let retrained = NetworkHashes {
        eyes: "b".repeat(64),
        ..networks()
    };
    after.networks = Some(retrained.clone());
    store.save(&before).unwrap();
    store.save(&after).unwrap();
    for (networks, expected) in [(networks(), before), (retrained, after)] {
        let found = store.load_for(&anna(), &expected.camera, &expected.screen, &networks);
        assert_eq!(found.unwrap(), expected);
    }
}

#[test]
fn a_deleted_person_is_gone_with_the_default() {
    let folder = Folder::new("delete");
    let store = folder.store();
    assert!(store.set_default_user(&anna()).is_err());
    for shift in [0.1, 0.2] {
        store.save(&profile("anna", shift)).unwrap();
    }
    store.save(&profile("ben", 0.1)).unwrap();
    store.set_default_user(&anna()).unwrap();
    assert_eq!(store.default_user().unwrap(), Some(anna()));
    assert_eq!(store.delete(&anna()).unwrap(), 2);
    assert_eq!(store.default_user().unwrap(), None);
    assert_eq!(store.users().unwrap(), [UserName::new("ben").unwrap()]);
    assert!(matches!(
        store.delete(&anna()),
        Err(ProfileError::Missing { .. })
    ));
}

#[test]
fn without_links_an_older_profile_is_copied_whole() {
    let folder = Folder::new("no-links");
    let store = folder.store();
    store.save(&profile("anna", 0.1)).unwrap();
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported] {
        store
            .keep_present(&anna(), |_, _| Err(kind.into()))
            .unwrap();
    }
    let history = store.history(&anna()).unwrap();
    assert_eq!(history.len(), 2);
    for path in history {
        assert_eq!(
            ProfileStore::read_file(&path).unwrap(),
            profile("anna", 0.1)
        );
    }
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        3,
        "a temporary file is left"
    );
}

#[test]
fn an_older_profile_that_cannot_be_kept_is_not_replaced() {
    let folder = Folder::new("full");
    let store = folder.store();
    store.save(&profile("anna", 0.1)).unwrap();
    let kept = store.keep_present(&anna(), |_, _| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(kept, Err(ProfileError::Io { action: "keep", .. })));
    assert_eq!(store.history(&anna()).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(store.load(&anna()).unwrap(), profile("anna", 0.1));
}

#[test]
fn a_refused_profile_leaves_the_one_in_force() {
    let folder = Folder::new("refused");
    let store = folder.store();
    store.save(&profile("anna", 0.1)).unwrap();
    assert!(store.save(&profile("anna", f32::NAN)).is_err());
    assert_eq!(store.load(&anna()).unwrap(), profile("anna", 0.1));
    assert_eq!(store.history(&anna()).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_no_text_or_too_large_is_no_profile() {
    let folder = Folder::new("binary");
    let store = folder.store();
    store.save(&profile("anna", 0.1)).unwrap();
    for contents in [vec![0xFF, 0xFE, 0x00], vec![b'a'; 5 << 20]] {
        fs::write(store.path(&anna()), contents).unwrap();
        assert!(matches!(
            store.load(&anna()),
            Err(ProfileError::NotAProfile { .. })
        ));
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_a_profile() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    let path = folder.store().save(&profile("anna", 0.1)).unwrap();
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
