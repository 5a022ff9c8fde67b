//! A table of text: columns as wide as their widest cell, numbers to the right.

use std::fmt;

/// Rows under headers. A column stands to the right where every cell of it starts like a number.
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<T: Into<String>>(headers: impl IntoIterator<Item = T>) -> Self {
        Self { headers: headers.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells that are missing at its end stay empty; cells beyond the headers are dropped.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.headers.len(), String::new());
        self.rows.push(row);
        self
    }

    /// Writes the table to standard output.
    pub fn print(&self) {
        crate::say::part(format_args!("{self}"));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = 0..self.headers.len();
        let widths: Vec<usize> = columns
            .clone()
            .map(|column| {
                let cells = self.rows.iter().map(|row| width(&row[column]));
                cells.chain([width(&self.headers[column])]).max().unwrap_or(0)
            })
            .collect();
        let numeric: Vec<bool> = columns.map(|column| self.rows.iter().all(|row| is_number(&row[column]))).collect();
        let rule: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
        for row in [&self.headers, &rule].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, &widest), &right) in row.iter().zip(&widths).zip(&numeric) {
                let gap = " ".repeat(widest - width(cell));
                let (before, after) = if right { (gap.as_str(), "") } else { ("", gap.as_str()) };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Columns a terminal gives to `text`: one a character, none for combining marks, two for East Asian wide ones.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c as u32 {
            0x300..=0x36f => 0,
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xff00..=0xff60 => 2,
            _ => 1,
        })
        .sum()
}

/// Whether a cell reads as a number, perhaps with a unit; an empty one and a dash do not speak against it.
fn is_number(cell: &str) -> bool {
    let digits = cell.trim_start_matches(['-', '+', '−']);
    cell.is_empty() || cell == "–" || digits.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up_by_what_a_terminal_shows() {
        let mut table = Table::new(["name", "time"]);
        table.row(["a×b", "1.5 ms"]).row(["longer", "12.5 ms"]).row(["short"]);
        let lines: Vec<String> = table.to_string().lines().map(String::from).collect();
        assert_eq!(
            lines,
            ["name       time", "──────  ───────", "a×b      1.5 ms", "longer  12.5 ms", "short"].map(String::from)
        );
    }

    #[test]
    fn a_column_with_words_stands_to_the_left() {
        let mut table = Table::new(["verdict", "n"]);
        table.row(["ok", "3"]).row(["out", "10"]);
        assert_eq!(table.to_string(), "verdict   n\n───────  ──\nok        3\nout      10\n");
    }
}
