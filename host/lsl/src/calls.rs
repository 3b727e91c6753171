//! The calls into the C library.

#![expect(
    unsafe_code,
    reason = "a C library that is found at run time; every call states why it is sound"
)]

use std::ffi::{CStr, CString, c_char, c_double, c_void};
use std::path::Path;
use std::ptr::NonNull;

use libloading::{Library, Symbol};

use crate::{Format, LslError, StreamInfo};

type Info = *mut c_void;
type Element = *mut c_void;
type RawOutlet = *mut c_void;

/// `cft_double64` and `cft_string` of `lsl_channel_format_t`.
const DOUBLE: i32 = 2;
const TEXT: i32 = 3;

/// `LSL_IRREGULAR_RATE`.
const IRREGULAR_RATE: c_double = 0.0;

/// Seconds that the library keeps for a receiver that is slow.
const MAX_BUFFERED_S: i32 = 60;

/// The functions, and the library that they live in.
#[derive(Debug)]
pub(crate) struct Calls {
    library_version: unsafe extern "C" fn() -> i32,
    local_clock: unsafe extern "C" fn() -> c_double,
    create_streaminfo: unsafe extern "C" fn(
        *const c_char,
        *const c_char,
        i32,
        c_double,
        i32,
        *const c_char,
    ) -> Info,
    destroy_streaminfo: unsafe extern "C" fn(Info),
    get_desc: unsafe extern "C" fn(Info) -> Element,
    append_child: unsafe extern "C" fn(Element, *const c_char) -> Element,
    append_child_value: unsafe extern "C" fn(Element, *const c_char, *const c_char) -> Element,
    create_outlet: unsafe extern "C" fn(Info, i32, i32) -> RawOutlet,
    destroy_outlet: unsafe extern "C" fn(RawOutlet),
    push_sample_dt: unsafe extern "C" fn(RawOutlet, *const c_double, c_double) -> i32,
    push_sample_strt: unsafe extern "C" fn(RawOutlet, *const *const c_char, c_double) -> i32,
    /// Last, so that it is unloaded after everything else is gone.
    _library: Library,
}

/// An outlet of the library.
#[derive(Debug)]
pub(crate) struct OutletPointer(NonNull<c_void>);

// SAFETY: the library locks what an outlet shares with its threads; it may be used from any thread,
// and `&mut` sees to it that it is used from one at a time.
unsafe impl Send for OutletPointer {}

/// Loads a library.
pub(crate) fn open(path: &Path) -> Result<Library, libloading::Error> {
    // SAFETY: loading runs the library's initialisers. Its name is liblsl's own, or the operator's
    // settings name it; whoever can put a file there can replace this program as well.
    unsafe { Library::new(path) }
}

impl Calls {
    pub(crate) fn of(library: Library) -> Result<Self, libloading::Error> {
        /// # Safety
        /// `T` must be the type of the function `name`.
        unsafe fn function<T: Copy>(library: &Library, name: &str) -> Result<T, libloading::Error> {
            // SAFETY: as the caller promises.
            let symbol: Symbol<'_, T> = unsafe { library.get(name) }?;
            Ok(*symbol)
        }
        // SAFETY: the types are those of lsl_c.h, unchanged from liblsl 1.14 to 1.18. The functions
        // are kept beside the library and not handed out, so they do not outlive it.
        unsafe {
            Ok(Calls {
                library_version: function(&library, "lsl_library_version")?,
                local_clock: function(&library, "lsl_local_clock")?,
                create_streaminfo: function(&library, "lsl_create_streaminfo")?,
                destroy_streaminfo: function(&library, "lsl_destroy_streaminfo")?,
                get_desc: function(&library, "lsl_get_desc")?,
                append_child: function(&library, "lsl_append_child")?,
                append_child_value: function(&library, "lsl_append_child_value")?,
                create_outlet: function(&library, "lsl_create_outlet")?,
                destroy_outlet: function(&library, "lsl_destroy_outlet")?,
                push_sample_dt: function(&library, "lsl_push_sample_dt")?,
                push_sample_strt: function(&library, "lsl_push_sample_strt")?,
                _library: library,
            })
        }
    }

    pub(crate) fn version(&self) -> i32 {
        // SAFETY: takes nothing and may be called at any time.
        unsafe { (self.library_version)() }
    }

    pub(crate) fn local_clock_s(&self) -> f64 {
        // SAFETY: takes nothing and may be called at any time.
        unsafe { (self.local_clock)() }
    }

    /// None when the library refuses.
    pub(crate) fn open_outlet(&self, info: &StreamInfo) -> Result<Option<OutletPointer>, LslError> {
        let [name, content, source_id] =
            [&info.name, &info.content, &info.source_id].map(|text| CString::new(text.as_str()));
        let (name, content, source_id) = (name?, content?, source_id?);
        let format = match info.format {
            Format::Double => DOUBLE,
            Format::Text => TEXT,
        };
        let n_channels = i32::try_from(info.channels.len()).unwrap_or(0);
        // SAFETY: the texts end in a zero and outlive the call, which copies them.
        let described = unsafe {
            (self.create_streaminfo)(
                name.as_ptr(),
                content.as_ptr(),
                n_channels,
                IRREGULAR_RATE,
                format,
                source_id.as_ptr(),
            )
        };
        if described.is_null() {
            return Ok(None);
        }
        let is_described = self.describe(described, info);
        // SAFETY: `described` is valid; the call copies it.
        let outlet =
            is_described.map(|()| unsafe { (self.create_outlet)(described, 0, MAX_BUFFERED_S) });
        // SAFETY: made above, not used again.
        unsafe { (self.destroy_streaminfo)(described) };
        Ok(NonNull::new(outlet?).map(OutletPointer))
    }

    /// Writes what is beside name and format.
    fn describe(&self, described: Info, info: &StreamInfo) -> Result<(), LslError> {
        // SAFETY: `described` is valid. Elements belong to it and are used only while it is.
        let root = unsafe { (self.get_desc)(described) };
        let mut groups: Vec<(&[&str], Element)> = vec![(&[], root)];
        for (path, value) in &info.about {
            let Some((name, group)) = path.split_last() else {
                continue;
            };
            let group = self.group(&mut groups, group)?;
            self.value(group, name, value)?;
        }
        let channels = self.child(root, "channels")?;
        for values in &info.channels {
            let channel = self.child(channels, "channel")?;
            for (name, value) in values {
                self.value(channel, name, value)?;
            }
        }
        Ok(())
    }

    /// The element at a path, made where it is missing; `known` holds the root at least.
    fn group<'a>(
        &self,
        known: &mut Vec<(&'a [&'a str], Element)>,
        path: &'a [&'a str],
    ) -> Result<Element, LslError> {
        if let Some(&(_, element)) = known.iter().find(|(known, _)| *known == path) {
            return Ok(element);
        }
        let (name, above) = path.split_last().expect("the empty path is known");
        let above = self.group(known, above)?;
        let element = self.child(above, name)?;
        known.push((path, element));
        Ok(element)
    }

    fn child(&self, element: Element, name: &str) -> Result<Element, LslError> {
        let name = CString::new(name)?;
        // SAFETY: the element is one of a living description; the text outlives the call.
        Ok(unsafe { (self.append_child)(element, name.as_ptr()) })
    }

    fn value(&self, element: Element, name: &str, value: &str) -> Result<(), LslError> {
        let (name, value) = (CString::new(name)?, CString::new(value)?);
        // SAFETY: the element is one of a living description; the texts outlive the call.
        unsafe { (self.append_child_value)(element, name.as_ptr(), value.as_ptr()) };
        Ok(())
    }

    pub(crate) fn push_numbers(&self, outlet: &mut OutletPointer, values: &[f64], at_s: f64) {
        // SAFETY: the outlet is open, and the caller has seen to it that there is a value for each
        // of its channels, which the call copies.
        unsafe { (self.push_sample_dt)(outlet.0.as_ptr(), values.as_ptr(), at_s) };
    }

    pub(crate) fn push_text(&self, outlet: &mut OutletPointer, text: &CStr, at_s: f64) {
        let texts = [text.as_ptr()];
        // SAFETY: the outlet is open and has one channel of text; the call copies the text.
        unsafe { (self.push_sample_strt)(outlet.0.as_ptr(), texts.as_ptr(), at_s) };
    }

    pub(crate) fn close_outlet(&self, outlet: &mut OutletPointer) {
        // SAFETY: the outlet is open; it is being dropped and is not used again.
        unsafe { (self.destroy_outlet)(outlet.0.as_ptr()) };
    }
}
