//! What everybody sees of a JPEG.

pub(crate) struct Shown {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Three bytes a pixel.
    rgb: Vec<u8>,
}

impl Shown {
    pub(crate) fn of(jpeg: &[u8]) -> Self {
        let mut decoder = jpeg_decoder::Decoder::new(jpeg);
        let rgb = decoder.decode().unwrap_or_else(|why| panic!("{} bytes are no JPEG: {why}", jpeg.len()));
        let info = decoder.info().unwrap();
        Self { width: info.width.into(), height: info.height.into(), rgb }
    }

    /// Red, green and blue over the part of the picture that begins and ends so many hundredths across and down.
    pub(crate) fn mean(&self, across: [usize; 2], down: [usize; 2]) -> [u8; 3] {
        let [left, right] = across.map(|hundredths| self.width * hundredths / 100);
        let [top, bottom] = down.map(|hundredths| self.height * hundredths / 100);
        let mut sums = [0; 3];
        for row in self.rgb.chunks(3 * self.width).take(bottom).skip(top) {
            for pixel in row[3 * left..3 * right].chunks(3) {
                sums.iter_mut().zip(pixel).for_each(|(sum, sample)| *sum += u64::from(*sample));
            }
        }
        sums.map(|sum| (sum / ((right - left) * (bottom - top)) as u64) as u8)
    }

    /// Fails unless this is what the virtual cameras play: the sky, the lawn and the path to the door are where they should
    /// be.
    pub(crate) fn is_the_porch(&self) {
        let places = [
            ("the sky", [30, 70], [1, 11], [48, 46, 96]),
            ("the lawn", [11, 20], [67, 75], [58, 88, 75]),
            ("the path", [46, 54], [89, 97], [145, 131, 132]),
        ];
        for (place, across, down, expected) in places {
            let shown = self.mean(across, down);
            let is_near = shown.iter().zip(expected).all(|(shown, expected): (&u8, u8)| shown.abs_diff(expected) <= 10);
            assert!(is_near, "{place} is {shown:?}, not {expected:?}");
        }
    }
}
