//! `gazed users …`: the profiles of people, looked after by hand.

use std::fmt::Write as _;
use std::path::Path;

use gaze_calibration::{MadeBy, NetworkHashes, Profile, ProfileError, ProfileStore, UserName};

use crate::cli::UsersCommand;
use crate::clock::civil_date;

/// Why a `users` command is not done.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// The profile, its name or its file.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The file to write is there already.
    #[error("{path} is there already: nothing is overwritten; name another file")]
    FileExists {
        /// The file.
        path: String,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Deleting cannot be undone.
    #[error("{n} profile(s) of {user} would be deleted for good; say --yes to do it")]
    NotConfirmed {
        /// Whose.
        user: String,
        /// How many, older ones included.
        n: usize,
    },
}

/// Does what is asked; gives what to print.
///
/// # Errors
/// [`UsersError`]; nothing has changed then.
pub fn run(command: &UsersCommand, store: &ProfileStore) -> Result<String, UsersError> {
    match command {
        UsersCommand::List => list(store),
        UsersCommand::Show { name } => show(store, &UserName::new(name)?),
        UsersCommand::Export { name, file } => export(store, &UserName::new(name)?, file),
        UsersCommand::Import { file, user } => import(store, file, user.as_deref()),
        UsersCommand::Delete { name, yes } => delete(store, &UserName::new(name)?, *yes),
        UsersCommand::Default { name } => set_default(store, name.as_deref()),
        UsersCommand::Undo { name, to } => {
            let profile = store.take_back(&UserName::new(name)?, *to)?;
            Ok(format!("taken back: {}\n", in_one_line(&profile)))
        }
    }
}

fn list(store: &ProfileStore) -> Result<String, UsersError> {
    let users = store.users()?;
    if users.is_empty() {
        return Ok(format!(
            "no profiles in {}; make one with gazed calibrate --user NAME\n",
            store.folder().display()
        ));
    }
    let default = store.default_user()?;
    let mut out = String::new();
    for user in users {
        let mark = if Some(&user) == default.as_ref() {
            '*'
        } else {
            ' '
        };
        let words = match store.load(&user) {
            Ok(profile) => in_one_line(&profile),
            // One that cannot be read does not hide the others.
            Err(error) => format!("cannot be used: {error}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{mark} {user:<16} {words}");
    }
    Ok(out)
}

fn in_one_line(profile: &Profile) -> String {
    let quality = profile.validation.as_ref().unwrap_or(&profile.quality);
    let accuracy = quality
        .all
        .accuracy_deg
        .map_or("not known".to_owned(), |deg| format!("{deg:.2}°"));
    format!(
        "{}  accuracy {accuracy}, {} targets, {}, camera {}",
        date(profile.created_unix_s),
        profile.quality.targets.len(),
        profile.kind(),
        profile.camera.id
    )
}

fn show(store: &ProfileStore, user: &UserName) -> Result<String, UsersError> {
    let profile = store.load(user)?;
    let mut out = String::new();
    let number = |number: Option<f32>| number.map_or("–".to_owned(), |deg| format!("{deg:.2}°"));
    let share =
        |share: Option<f32>| share.map_or("–".to_owned(), |x| format!("{:.1} %", 100.0 * x));
    let screen = &profile.screen;
    let how = match profile.made_by {
        MadeBy::Session => "a live calibration",
        MadeBy::Recording => "a recording",
        MadeBy::Recentring => "recentring",
    };
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line("user", profile.user.to_string());
    line(
        "made",
        format!("{}, by {how}", date(profile.created_unix_s)),
    );
    let [width, height] = profile.camera.frame_size_px;
    line(
        "camera",
        format!("{}, {width}x{height} px", profile.camera.id),
    );
    let px = screen.size_px().map_or(String::new(), |[width, height]| {
        format!(", {width}x{height} px")
    });
    line(
        "screen",
        format!("{:.0}x{:.0} mm{px}", screen.width_mm(), screen.height_mm()),
    );
    line(
        "networks",
        profile.networks.as_ref().map_or(
            "not known: calibrate again".to_owned(),
            |NetworkHashes { landmarks, eyes }| format!("landmarks {landmarks:.8}, eyes {eyes:.8}"),
        ),
    );
    line("eyes", format!("{:?}", profile.eyes).to_lowercase());
    line(
        "model",
        format!("{} ({})", profile.kind(), profile.fitting.reason),
    );
    line(
        "targets",
        format!(
            "{}, accuracy {} with each left out in turn",
            profile.quality.targets.len(),
            number(profile.quality.all.accuracy_deg)
        ),
    );
    if let Some(validation) = &profile.validation {
        let name = match profile.made_by {
            // Recentring keeps what judged the calibration that it moved.
            MadeBy::Recentring => "before it",
            MadeBy::Session | MadeBy::Recording => "validation",
        };
        line(
            name,
            format!(
                "{} further targets, accuracy {}, precision SD {}, RMS-S2S {}, data loss {}",
                validation.targets.len(),
                number(validation.all.accuracy_deg),
                number(validation.all.precision_sd_deg),
                number(validation.all.precision_rms_s2s_deg),
                share(validation.all.data_loss())
            ),
        );
    }
    for path in store.history(user)? {
        let words = match ProfileStore::read_file(&path) {
            Ok(older) => in_one_line(&older),
            Err(error) => format!("cannot be used: {error}"),
        };
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        line("older", format!("{name}: {words}"));
    }
    Ok(out)
}

fn export(store: &ProfileStore, user: &UserName, file: &Path) -> Result<String, UsersError> {
    let text = store.load(user)?.to_text()?;
    if file == Path::new("-") {
        return Ok(text);
    }
    let path = file.display().to_string();
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    match written {
        Ok(()) => Ok(format!("the profile of {user} is in {path}\n")),
        Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(UsersError::FileExists { path })
        }
        Err(source) => Err(UsersError::Write { path, source }),
    }
}

fn import(store: &ProfileStore, file: &Path, user: Option<&str>) -> Result<String, UsersError> {
    let mut profile = ProfileStore::read_file(file)?;
    if let Some(user) = user {
        profile.user = UserName::new(user)?;
    }
    let path = store.save(&profile)?;
    Ok(format!("{}: {}\n", path.display(), in_one_line(&profile)))
}

fn delete(store: &ProfileStore, user: &UserName, is_sure: bool) -> Result<String, UsersError> {
    if !is_sure {
        let present = usize::from(store.path(user).exists());
        return Err(UsersError::NotConfirmed {
            user: user.to_string(),
            n: store.history(user)?.len() + present,
        });
    }
    let n = store.delete(user)?;
    Ok(format!("{n} profile(s) of {user} deleted\n"))
}

fn set_default(store: &ProfileStore, name: Option<&str>) -> Result<String, UsersError> {
    if let Some(name) = name {
        store.set_default_user(&UserName::new(name)?)?;
    }
    Ok(store
        .default_user()?
        .map_or("no default user\n".to_owned(), |user| format!("{user}\n")))
}

/// The day and minute of a time, UTC.
pub(crate) fn date(unix_s: u64) -> String {
    let [year, month, day] = civil_date((unix_s / 86_400) as i64);
    let (hour, minute) = (unix_s / 3600 % 24, unix_s / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_calendars() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        // A leap day, and the last second of a year.
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59 UTC");
    }
}
