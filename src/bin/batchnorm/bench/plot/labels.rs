//! Where names have room.

/// A point of the picture: x to the right, y down.
pub type Place = [f64; 2];

/// Left, top, right, bottom.
type Box = [f64; 4];

/// What a letter of small text takes, in wide fonts.
const LETTER: f64 = 7.2;
const LINE: f64 = 11.0;
const MARK: f64 = 7.0;

/// The names written so far, and what none may cover.
pub struct Labels {
    within: Box,
    taken: Vec<Box>,
}

impl Labels {
    /// An empty panel.
    pub fn within(within: Box) -> Self {
        Self { within, taken: vec![] }
    }

    /// No name may cover this mark.
    pub fn keep_off_mark(&mut self, [x, y]: Place) {
        self.taken.push([x - MARK, y - MARK, x + MARK, y + MARK]);
    }

    /// Nor this line.
    pub fn keep_off_line(&mut self, line: &[Place]) {
        for pair in line.windows(2) {
            let [[x0, y0], [x1, y1]] = [pair[0], pair[1]];
            let steps = ((x1 - x0).hypot(y1 - y0) / 2.0).ceil().max(1.0);
            for step in 0..=steps as usize {
                let part = step as f64 / steps;
                let [x, y] = [x0 + part * (x1 - x0), y0 + part * (y1 - y0)];
                self.taken.push([x - 2.0, y - 2.0, x + 2.0, y + 2.0]);
            }
        }
    }

    /// Requirement room for a name right of, left of, above or below a mark: which end of its foot is where, as SVG's
    /// `text-anchor` has it. `None` where all of these are taken.
    pub fn beside(&mut self, [x, y]: Place, name: &str) -> Option<(&'static str, Place)> {
        let width = LETTER * name.chars().count() as f64;
        let (aside, above) = (MARK + 1.0, MARK + 1.0 + LINE / 2.0);
        let sides = [
            ("start", [x + aside, y], x + aside),
            ("end", [x - aside, y], x - aside - width),
            ("middle", [x, y - above], x - width / 2.0),
            ("middle", [x, y + above], x - width / 2.0),
        ];
        let (anchor, [x, y], room) = sides
            .map(|(anchor, [x, y], left)| (anchor, [x, y], [left, y - LINE / 2.0, left + width, y + LINE / 2.0]))
            .into_iter()
            .find(|(_, _, room)| self.is_free(room))?;
        self.taken.push(room);
        Some((anchor, [x, y + 4.0]))
    }

    fn is_free(&self, room: &Box) -> bool {
        let [left, top, right, bottom] = self.within;
        let inside = room[0] >= left && room[1] >= top && room[2] <= right && room[3] <= bottom;
        inside && !self.taken.iter().any(|other| overlap(room, other))
    }
}

fn overlap(a: &Box, b: &Box) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use super::Labels;

    #[test]
    fn names_cover_neither_marks_nor_lines_nor_one_another() {
        let mut labels = Labels::within([0.0, 0.0, 200.0, 100.0]);
        let mark = [100.0, 50.0];
        labels.keep_off_mark(mark);
        let placed = [(); 4].map(|()| labels.beside(mark, "name").unwrap());
        assert_eq!(placed.map(|(anchor, _)| anchor), ["start", "end", "middle", "middle"]);
        let [right, left, above, below] = placed.map(|(_, place)| place);
        assert!(right[0] > 105.0 && left[0] < 95.0 && above[1] < 45.0 && below[1] > 60.0);
        assert_eq!(labels.beside(mark, "name"), None);
        let mut lined = Labels::within([0.0, 0.0, 200.0, 100.0]);
        lined.keep_off_line(&[[110.0, 0.0], [110.0, 100.0]]);
        assert_eq!(lined.beside(mark, "name").map(|(anchor, _)| anchor), Some("end"));
        assert_eq!(Labels::within([0.0, 0.0, 20.0, 20.0]).beside([10.0, 10.0], "name"), None);
    }
}
