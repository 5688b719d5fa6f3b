//! Comparisons: a grid of runs over one base configuration, trained side by side, and the tables they come to.
//!
//! ```text
//! DIR/
//! ├── compare.toml        base configuration and grid; `bidst compare DIR` goes on with it
//! ├── lock                held while somebody trains here
//! ├── runs/NAME/          a run folder per run, see the `run_dir` module
//! ├── table.{md,csv,json} the results so far
//! └── report.{html,png}   the same as pictures
//! ```
//!
//! Nothing else is kept: how a run stands is read from its folder, so a comparison can be stopped or killed at any moment
//! and goes on where it was. Finished runs are not trained again, interrupted ones continue from their last checkpoint,
//! and the numbers are the same bit for bit (on one instruction set), times aside.

mod grid;
mod standing;
mod table;
mod train;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use grid::{Grid, Run};
pub use standing::{Standing, State};
pub(crate) use table::Section;
pub use table::Tables;
pub use train::{Ending, Jobs, Update, Watcher};

use crate::config::{Builder, Data};
use crate::error::TrainError;
use crate::files::write_atomically;
use crate::report::{self, Report};

/// A grid and the folder of its runs.
#[derive(Debug)]
pub struct Comparison {
    path: PathBuf,
    grid: Grid,
    runs: Vec<Run>,
}

impl Comparison {
    /// A comparison of `settings`, which hold a `[grid]`, in the folder `path`. Nothing is written yet.
    ///
    /// # Errors
    /// [`TrainError::Config`] with what is wrong with the grid or any of its runs.
    pub fn new(path: &Path, settings: Builder) -> Result<Comparison, TrainError> {
        let grid = Grid::new(settings)?;
        let runs = grid.runs()?;
        Ok(Comparison { path: path.to_owned(), grid, runs })
    }

    /// The comparison that was begun in the folder `path`.
    ///
    /// # Errors
    /// [`TrainError::Config`] if its `compare.toml` cannot be read or is wrong.
    pub fn open(path: &Path) -> Result<Comparison, TrainError> {
        Comparison::new(path, Builder::new().file(&path.join("compare.toml")))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The runs, in the order in which they are trained.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The folder of a run.
    pub fn folder(&self, run: &Run) -> PathBuf {
        self.path.join("runs").join(&run.name)
    }

    /// How every run stands.
    pub fn standings(&self) -> Vec<Standing> {
        self.runs.iter().map(|run| Standing::of(&self.folder(run))).collect()
    }

    /// The tables of what is finished now.
    pub fn tables(&self) -> Tables {
        Tables::new(self.grid.columns(), &self.runs, self.standings())
    }

    /// Writes `table.md`, `table.csv` and `table.json` and returns what is in them.
    ///
    /// # Errors
    /// [`TrainError::RunChanged`] if a run was made with other settings than the grid's; [`TrainError::Io`]
    pub fn write_tables(&self) -> Result<Tables, TrainError> {
        self.check_unchanged()?;
        let tables = self.tables();
        for (name, text) in [("md", tables.markdown()), ("csv", tables.csv()), ("json", tables.json())] {
            write_atomically(&self.path.join(format!("table.{name}")), text.as_bytes())?;
        }
        Ok(tables)
    }

    /// Writes `report.html` and `report.png` of all runs that were begun, as `bidst report DIR` does. None if no run is finished,
    /// or all have `run.report = false`.
    ///
    /// # Errors
    /// [`TrainError::Io`]
    pub fn write_report(&self) -> Result<Option<Report>, TrainError> {
        let standings = self.standings();
        let wanted = |(run, standing): (&Run, &Standing)| run.config.run.report && standing.state == State::Finished;
        if !self.runs.iter().zip(&standings).any(wanted) {
            return Ok(None);
        }
        let begun = self.runs.iter().zip(&standings).filter(|(_, standing)| standing.manifest.is_some());
        let mut folders: Vec<PathBuf> = begun.map(|(run, _)| self.folder(run)).collect();
        folders.sort();
        report::write_runs(&folders, &report::path(&self.path)).map(Some)
    }

    /// Makes sure that the runs that are there were made with the settings of this grid.
    fn check_unchanged(&self) -> Result<(), TrainError> {
        self.runs.iter().try_for_each(|run| standing::check_unchanged(run, &self.folder(run)))
    }

    /// Makes the folder and takes its lock, which is held until the file is dropped; makes sure that the runs in it were
    /// made with the settings of this grid, and that the data can be read; then writes `compare.toml`.
    fn begin(&self) -> Result<File, TrainError> {
        fs::create_dir_all(&self.path).map_err(TrainError::io("create", &self.path))?;
        let path = self.path.join("lock");
        let lock = File::create(&path).map_err(TrainError::io("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(TrainError::Occupied { path: self.path.clone() }),
            Err(fs::TryLockError::Error(source)) => return Err(TrainError::io("lock", &path)(source)),
        }
        self.check_unchanged()?;
        let mut checked: Vec<&Data> = Vec::new();
        for data in self.runs.iter().map(|run| &run.config.data) {
            if !checked.contains(&data) {
                data.open()?;
                checked.push(data);
            }
        }
        write_atomically(&self.path.join("compare.toml"), self.grid.to_toml().as_bytes())?;
        Ok(lock)
    }
}
