//! Accuracy and loss.

use super::super::chart::{Chart, Ink, Marks, Series};
use super::super::records::{Epoch, Records};
use super::super::scale::{Format, Scale};
use super::super::theme::{BLUE, ORANGE};
use super::{Panel, twin_name};

/// Accuracy per epoch.
pub fn accuracy(run: &Records, twin: Option<&Records>) -> Panel {
    let series = lines(run, twin, |epoch| epoch.test_accuracy, |epoch| epoch.train_accuracy);
    let y = Scale::linear(values(&series), 4);
    draw(
        "Accuracy",
        "Share of images that are right; training images as augmented, during the epoch.",
        Format::Percent,
        y,
        series,
    )
}

/// Loss per epoch.
pub fn loss(run: &Records, twin: Option<&Records>) -> Panel {
    let series = lines(run, twin, |epoch| epoch.test_loss, |epoch| epoch.train_loss);
    let positive = |value: &f64| *value > 0.0;
    let lowest = values(&series).filter(positive).fold(f64::INFINITY, f64::min);
    let highest = values(&series).fold(0.0, f64::max);
    let is_wide = highest > 25.0 * lowest && values(&series).all(|value| value > 0.0);
    let y = if is_wide { Scale::log(values(&series)) } else { Scale::linear(values(&series), 4) };
    let note = if is_wide { "Mean cross-entropy, on a logarithmic scale." } else { "Mean cross-entropy." };
    draw("Loss", note, Format::Number, y, series)
}

fn draw(title: &str, note: &str, format: Format, y: Scale, series: Vec<Series>) -> Panel {
    let chart = Chart { title, note, x_name: "epoch", x_from: 1.0, format, y, marks: Marks::Lines, series };
    Panel::new(title, chart.draw())
}

fn values(series: &[Series]) -> impl Iterator<Item = f64> {
    series.iter().flat_map(|series| series.points.iter().map(|point| point.1))
}

fn lines(
    run: &Records,
    twin: Option<&Records>,
    test: fn(&Epoch) -> Option<f64>,
    train: fn(&Epoch) -> Option<f64>,
) -> Vec<Series> {
    let points = |run: &Records, of: fn(&Epoch) -> Option<f64>| -> Vec<(f64, f64)> {
        run.epochs.iter().filter_map(|epoch| Some((epoch.epoch as f64 + 1.0, of(epoch)?))).collect()
    };
    let mut series = vec![
        Series::new("test", Ink::Series(BLUE), points(run, test)),
        Series::new("training", Ink::Series(ORANGE), points(run, train)).thin(),
    ];
    if let Some(twin) = twin {
        let name = twin_name(twin);
        series.push(Series::new(format!("{name}, test"), Ink::Twin, points(twin, test)));
        series.push(Series::new(format!("{name}, training"), Ink::Twin, points(twin, train)).dashed());
    }
    series
}
