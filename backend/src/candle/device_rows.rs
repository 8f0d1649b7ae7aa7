//! Rows of a tensor that stays on its device.

use candle_core::{D, DType, Tensor};

use crate::error::Result;
use crate::{DeviceRows, HostRows};

/// A tensor of `[rows, width]`.
#[derive(Debug)]
pub(super) struct TensorRows(pub(super) Tensor);

impl DeviceRows for TensorRows {
    fn len(&self) -> usize {
        self.0.dims().first().copied().unwrap_or(0)
    }

    fn read(&self, rows: &mut HostRows) -> Result<()> {
        let values = self.0.to_dtype(DType::F32)?.flatten_all()?;
        let mut values = values.to_vec1()?;
        let length = values.len();
        rows.take(&mut values, length);
        Ok(())
    }

    fn argmax(&self) -> Result<Vec<(u32, f32)>> {
        let indices = self.0.argmax_keepdim(D::Minus1)?;
        let values = self.0.gather(&indices, D::Minus1)?;
        let values = values.to_dtype(DType::F32)?.flatten_all()?;
        let indices = indices.flatten_all()?.to_vec1::<u32>()?;
        Ok(indices.into_iter().zip(values.to_vec1::<f32>()?).collect())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::argmax;

    #[test]
    fn the_device_finds_what_the_host_finds() {
        let rows = [
            [0.5, 2.0, -1.0, 2.0],
            [-3.0, -2.5, -9.0, f32::NEG_INFINITY],
            [7.0, 7.0, 7.0, 7.0],
        ];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let tensor = Tensor::new(&rows, &Device::Cpu).unwrap();
            let device = TensorRows(tensor.to_dtype(dtype).unwrap());
            assert_eq!(device.len(), 3);
            let expected: Vec<_> = rows.iter().map(|row| argmax(row)).collect();
            assert_eq!(device.argmax().unwrap(), expected);
            let mut host = HostRows::default();
            device.read(&mut host).unwrap();
            assert_eq!(host.values(), rows.as_flattened());
        }
    }
}
