//! A frame as a picture that is known to be whole, and the camera that took it.

use gaze_calibration::Intrinsics;

use crate::frame::Frame;

/// Grey values with their size; at least one pixel, and exactly width x height of them.
#[derive(Clone, Copy)]
pub struct Picture<'a> {
    width: usize,
    height: usize,
    luma: &'a [u8],
}

impl<'a> Picture<'a> {
    /// The picture of a frame; none when it has no pixels.
    ///
    /// # Panics
    /// When the frame's buffer does not have the frame's size, which is a bug of its source.
    pub fn of(frame: &'a Frame) -> Option<Self> {
        if frame.error.is_some() || frame.width == 0 || frame.height == 0 {
            return None;
        }
        Some(Picture::new(frame.width, frame.height, &frame.luma))
    }

    /// A picture of the given size; `luma` is `[height, width]` row-major.
    ///
    /// # Panics
    /// When there are no pixels, or not as many as the size says.
    pub fn new(width: usize, height: usize, luma: &'a [u8]) -> Self {
        assert!(
            width > 0 && height > 0 && luma.len() == width * height,
            "a {width}x{height} picture has {} bytes",
            luma.len()
        );
        Picture {
            width,
            height,
            luma,
        }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The grey values of one row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.luma[row * self.width..][..self.width]
    }

    /// The longer side, px.
    pub fn longer_side_px(&self) -> f32 {
        self.width.max(self.height) as f32
    }
}

/// A pinhole camera without distortion; pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraMatrix {
    /// Focal length along x.
    pub fx_px: f32,
    /// Focal length along y.
    pub fy_px: f32,
    /// Principal point, x.
    pub cx_px: f32,
    /// Principal point, y.
    pub cy_px: f32,
}

impl CameraMatrix {
    /// The guess for an unknown camera: focal length = longer side (a horizontal field of view of
    /// 53°, between that of laptop and desk cameras), principal point in the picture's middle.
    pub fn guess(width_px: usize, height_px: usize) -> Self {
        let focal_px = width_px.max(height_px) as f32;
        CameraMatrix {
            fx_px: focal_px,
            fy_px: focal_px,
            cx_px: (width_px as f32 - 1.0) / 2.0,
            cy_px: (height_px as f32 - 1.0) / 2.0,
        }
    }

    /// The unit vector from the camera through a pixel, camera axes.
    pub fn ray(&self, [x, y]: [f32; 2]) -> [f32; 3] {
        let ray = [
            (x - self.cx_px) / self.fx_px,
            (y - self.cy_px) / self.fy_px,
            1.0,
        ];
        let length = (ray[0] * ray[0] + ray[1] * ray[1] + 1.0).sqrt();
        ray.map(|value| value / length)
    }
}

impl From<CameraMatrix> for Intrinsics {
    fn from(camera: CameraMatrix) -> Self {
        let CameraMatrix {
            fx_px,
            fy_px,
            cx_px,
            cy_px,
        } = camera;
        Intrinsics {
            fx_px,
            fy_px,
            cx_px,
            cy_px,
        }
    }
}

impl From<[f32; 4]> for CameraMatrix {
    /// fx, fy, cx, cy.
    fn from([fx_px, fy_px, cx_px, cy_px]: [f32; 4]) -> Self {
        CameraMatrix {
            fx_px,
            fy_px,
            cx_px,
            cy_px,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guessed_camera_looks_through_the_middle() {
        let camera = CameraMatrix::guess(641, 480);
        assert_eq!(camera.ray([320.0, 239.5]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_frame_with_an_error_has_no_picture() {
        let mut frame = Frame::new();
        (frame.width, frame.height, frame.luma) = (1, 1, vec![7]);
        assert!(Picture::of(&frame).is_some());
        frame.error = Some("truncated".into());
        assert!(Picture::of(&frame).is_none());
    }
}
