//! Segments a point cloud by the names of its parts, from Rust, as segment.c does:
//!
//!     segment MODEL WEIGHTS_FOLDER POINTS PRECISION PART...
//!
//! POINTS is a file of float32 x y z. Writes one label (int32) per point to the standard output.
use std::ffi::{c_char, c_float, c_int, c_void, CStr, CString};
use std::io::Write;
use std::ptr::{null, null_mut};

// The part of csrc/pa3d.h that this program uses.
#[link(name = "pa3d")]
extern "C" {
    fn pa3d_error_message() -> *const c_char;
    fn pa3d_model_load(path: *const c_char, precision: *const c_char, model: *mut *mut c_void) -> c_int;
    fn pa3d_model_free(model: *mut c_void);
    fn pa3d_text_load(weights: *const c_char, tokenizer: *const c_char, text: *mut *mut c_void) -> c_int;
    fn pa3d_text_free(text: *mut c_void);
    fn pa3d_segment(
        model: *const c_void, text: *const c_void, points: *const c_float, n: i64, parts: *const *const c_char,
        count: i64, category: *const c_char, options: *const c_void, labels: *mut i32, scores: *mut c_float,
    ) -> c_int;
}

/// The library's message of this thread's last failed call.
fn check(status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        _ => Err(unsafe { CStr::from_ptr(pa3d_error_message()) }.to_string_lossy().into_owned()),
    }
}

struct Model(*mut c_void);
impl Drop for Model {
    fn drop(&mut self) {
        unsafe { pa3d_model_free(self.0) }
    }
}

struct Text(*mut c_void);
impl Drop for Text {
    fn drop(&mut self) {
        unsafe { pa3d_text_free(self.0) }
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?}: a text with a zero byte"))
}

fn load(model: &str, weights: &str, precision: &str) -> Result<(Model, Text), String> {
    let (path, precision) = (c_string(model)?, c_string(precision)?);
    let encoder = c_string(&format!("{weights}/minilm-l6-v2.safetensors"))?;
    let tokenizer = c_string(&format!("{weights}/minilm-tokenizer.json"))?;
    let (mut model, mut text) = (Model(null_mut()), Text(null_mut()));
    unsafe {
        check(pa3d_model_load(path.as_ptr(), precision.as_ptr(), &mut model.0))?;
        check(pa3d_text_load(encoder.as_ptr(), tokenizer.as_ptr(), &mut text.0))?;
    }
    Ok((model, text))
}

/// points: x y z of each point. One label per point: the index of a part.
fn segment(model: &Model, text: &Text, points: &[f32], parts: &[String]) -> Result<Vec<i32>, String> {
    let names = parts.iter().map(|part| c_string(part)).collect::<Result<Vec<_>, _>>()?;
    let pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut labels = vec![0; points.len() / 3];
    check(unsafe {
        pa3d_segment(
            model.0, text.0, points.as_ptr(), labels.len() as i64, pointers.as_ptr(), pointers.len() as i64, null(),
            null(), labels.as_mut_ptr(), null_mut(),
        )
    })?;
    Ok(labels)
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [model, weights, file, precision, parts @ ..] = arguments else {
        return Err("usage: segment MODEL WEIGHTS_FOLDER POINTS PRECISION PART...".into());
    };
    let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let points: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (model, text) = load(model, weights, precision)?;
    let labels = segment(&model, &text, &points, parts)?;
    let out: Vec<u8> = labels.iter().flat_map(|label| label.to_ne_bytes()).collect();
    std::io::stdout().write_all(&out).map_err(|error| error.to_string())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(message) = run(&arguments) {
        eprintln!("{message}");
        std::process::exit(1);
    }
}
