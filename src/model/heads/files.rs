//! Where a head's weights lie.

use super::{EagleFiles, PredictionFiles};
use crate::error::Result;
use crate::hub::ModelFiles;
use crate::model::open_model::OpenModel;

/// A head's opened files.
pub enum HeadFiles {
    /// A head of EAGLE's or EAGLE-3's.
    Eagle(EagleFiles),
    /// A layer that predicts further tokens.
    Prediction(PredictionFiles),
}

impl HeadFiles {
    /// Opens a head; `None`: a model lies there.
    pub fn open(files: &ModelFiles) -> Result<Option<Self>> {
        if let ModelFiles::Folder(folder) = files
            && let Some(files) = EagleFiles::open(folder)?
        {
            return Ok(Some(Self::Eagle(files)));
        }
        let prediction = PredictionFiles::alone(OpenModel::open(files)?)?;
        Ok(prediction.map(Self::Prediction))
    }

    /// The head within a model's own files; `None`: there is none.
    pub fn within(model: OpenModel) -> Result<Option<Self>> {
        Ok(PredictionFiles::within(model)?.map(Self::Prediction))
    }
}
