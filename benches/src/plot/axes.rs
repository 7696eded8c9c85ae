//! A panel with two axes.

use super::svg::{Anchor, FADED, GRID, INK, Svg};

/// How an axis places values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// One axis: what it shows, from where to where, and where its ticks are.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let place = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).ln(),
        };
        (place(value) - place(self.from)) / (place(self.to) - place(self.from))
    }
}

/// A panel on a page.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Panel {
    pub(super) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let right = self.left + self.width * self.x.place(x).clamp(0.0, 1.0);
        (right, self.top + self.height * (1.0 - self.y.place(y).clamp(0.0, 1.0)))
    }

    /// Draws the grid, the ticks, the labels and the title.
    pub(super) fn frame(&self, svg: &mut Svg, title: &str) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        for (value, label) in &self.y.ticks {
            let (_, y) = self.at((self.x.from, *value));
            svg.line((self.left, y), (right, y), GRID, "");
            svg.text(self.left - 8.0, y + 4.0, Anchor::End, 11.0, INK, label);
        }
        for (value, label) in &self.x.ticks {
            let (x, _) = self.at((*value, self.y.from));
            svg.line((x, self.top), (x, bottom), GRID, "");
            svg.text(x, bottom + 17.0, Anchor::Middle, 11.0, INK, label);
        }
        svg.line((self.left, bottom), (right, bottom), INK, "");
        svg.line((self.left, self.top), (self.left, bottom), INK, "");
        svg.bold(self.left, self.top - 10.0, Anchor::Start, 13.0, INK, title);
        let middle = self.left + self.width / 2.0;
        svg.text(middle, bottom + 36.0, Anchor::Middle, 12.0, FADED, &self.x.label);
        svg.upright(self.left - 62.0, self.top + self.height / 2.0, 12.0, FADED, &self.y.label);
    }
}

/// A step that gives four to eight ticks.
pub(super) fn step(highest: f64) -> f64 {
    let rough = highest / 5.0;
    let ten = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * ten)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(ten)
}

/// Labels beside the ends of curves, moved apart so that none covers another. Takes and returns heights, in the same order.
pub(super) fn apart(heights: &[f64], distance: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|one, other| heights[*one].total_cmp(&heights[*other]));
    let mut placed = heights.to_vec();
    let mut free = f64::NEG_INFINITY;
    for index in &order {
        placed[*index] = heights[*index].max(free);
        free = placed[*index] + distance;
    }
    // What has run out at the bottom moves up again.
    let mut limit = bottom;
    for index in order.iter().rev() {
        placed[*index] = placed[*index].min(limit);
        limit = placed[*index] - distance;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_distance_and_their_order() {
        let placed = apart(&[50.0, 10.0, 51.0, 52.0, 99.0], 10.0, 100.0);
        assert_eq!(placed, [50.0, 10.0, 60.0, 70.0, 99.0]);
        let crowded = apart(&[98.0, 99.0, 100.0], 10.0, 100.0);
        assert_eq!(crowded, [80.0, 90.0, 100.0]);
    }

    #[test]
    fn logarithms_place_tenfolds_evenly() {
        let axis = Axis {
            label: String::new(),
            scale: Scale::Log,
            from: 1.0,
            to: 100.0,
            ticks: Vec::new(),
        };
        assert!((axis.place(10.0) - 0.5).abs() < 1e-9);
    }
}
