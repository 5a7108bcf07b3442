//! `hairpin top` on a terminal: which table, in which order, and how it is drawn.

use super::sample::{Line, Sample, short};
use crossterm::event::KeyCode;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line as TextLine, Span};
use ratatui::widgets::{Paragraph, Row, Table};

/// The tables: name, titles of their words with widths.
const TABLES: [(&str, &[(&str, Constraint)]); 4] = [
    (
        "flows",
        &[
            ("proto", Constraint::Length(7)),
            ("source", Constraint::Min(18)),
            ("destination", Constraint::Min(18)),
            ("state", Constraint::Length(12)),
        ],
    ),
    ("talkers", &[("address", Constraint::Min(18)), ("connections", Constraint::Length(12))]),
    (
        "rules",
        &[
            ("family", Constraint::Length(6)),
            ("table", Constraint::Length(9)),
            ("chain", Constraint::Length(14)),
            ("no.", Constraint::Length(6)),
            ("rule", Constraint::Min(20)),
        ],
    ),
    ("drops", &[("reason", Constraint::Min(20))]),
];

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Bytes in a second.
    Bytes,
    /// Packets in a second.
    Packets,
    /// Bytes in all.
    Total,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    table: usize,
    order: Order,
    is_paused: bool,
    sample: Sample,
}

impl Default for View {
    fn default() -> View {
        View { table: 0, order: Order::Bytes, is_paused: false, sample: Sample::default() }
    }
}

impl View {
    /// A key was pressed; false when that ends it.
    pub(super) fn press(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char(digit @ '1'..='4') => self.table = usize::from(digit as u8 - b'1'),
            KeyCode::Tab | KeyCode::Right => self.table = (self.table + 1) % TABLES.len(),
            KeyCode::BackTab | KeyCode::Left => self.table = (self.table + TABLES.len() - 1) % TABLES.len(),
            KeyCode::Char('b') => self.order = Order::Bytes,
            KeyCode::Char('p') => self.order = Order::Packets,
            KeyCode::Char('t') => self.order = Order::Total,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            _ => {}
        }
        true
    }

    /// The gateway told something newer.
    pub(super) fn take(&mut self, sample: Sample) {
        if !self.is_paused {
            self.sample = sample;
        }
    }

    fn rows(&self, table: usize) -> Vec<&Line> {
        let mut rows: Vec<&Line> = self.sample.tables[table].iter().collect();
        // Equal ones stay as the gateway ordered them.
        rows.sort_by_key(|line| {
            std::cmp::Reverse(match self.order {
                Order::Bytes => line.rate,
                Order::Packets => line.packet_rate,
                Order::Total => line.total,
            })
        });
        rows
    }

    fn heading(&self) -> String {
        let n = |name| self.sample.number(name);
        let up = n("uptime");
        let max = n("connections_max");
        let share = (n("connections") * 100).checked_div(max).unwrap_or(0);
        let per_packet = n("busy_nanos").checked_div(n("packets")).unwrap_or(0);
        let mut text = format!(
            "hairpin, up {} d {:02}:{:02}:{:02}   connections {} of {max} ({share} %)   packets {}, {per_packet} ns each",
            up / 86_400,
            up / 3600 % 24,
            up / 60 % 60,
            up % 60,
            n("connections"),
            short(n("packets")),
        );
        if n("accounting") == 0 {
            text += "   (flows are not counted: hairpin sysctl -w net.netfilter.nf_conntrack_acct=1)";
        }
        text
    }

    /// Draws it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [top, tabs, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(2), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(self.heading()), top);
        let names = TABLES.iter().enumerate().map(|(n, (name, _))| {
            let style = if n == self.table { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            Span::styled(format!(" {} {name} ", n + 1), style)
        });
        frame.render_widget(TextLine::from(names.collect::<Vec<_>>()), tabs);
        let (_, columns) = TABLES[self.table];
        let is_drops = self.table == 3;
        let numbers: &[&str] = if is_drops { &["drops/s", "drops"] } else { &["B/s", "pkt/s", "bytes", "packets"] };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let header = Row::new(numbers.iter().copied().chain(columns.iter().map(|(title, _)| *title))).style(bold);
        let rows = self.rows(self.table).into_iter().map(|line| {
            let numbers = if is_drops {
                vec![line.rate, line.total]
            } else {
                vec![line.rate, line.packet_rate, line.total, line.packets]
            };
            Row::new(numbers.into_iter().map(short).chain(line.words.iter().cloned()))
        });
        let widths = numbers.iter().map(|_| Constraint::Length(8)).chain(columns.iter().map(|(_, width)| *width));
        frame.render_widget(Table::new(rows, widths).header(header), body);
        let order = match self.order {
            Order::Bytes => "bytes in a second",
            Order::Packets => "packets in a second",
            Order::Total => "bytes in all",
        };
        let paused = if self.is_paused { "   paused" } else { "" };
        let keys = format!("by {order}{paused}   1-4 Tab: table   b p t: order   space: pause   q: end");
        frame.render_widget(Paragraph::new(keys), foot);
    }

    /// All of it as plain text.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.heading());
        for (n, (name, _)) in TABLES.iter().enumerate() {
            text += &format!("\n{name}\n");
            for line in self.rows(n).into_iter().take(10) {
                let numbers = if n == 3 {
                    format!("{:>8}/s {:>8}", short(line.rate), short(line.total))
                } else {
                    format!(
                        "{:>8} B/s {:>8} pkt/s {:>8} B {:>8} pkt",
                        short(line.rate),
                        short(line.packet_rate),
                        short(line.total),
                        short(line.packets)
                    )
                };
                text += &format!("{numbers}  {}\n", line.words.join(" "));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Reader, tests::TEXT};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown(view: &View) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(110, 8)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y: u16| (0..110).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..8).map(row).collect()
    }

    #[test]
    fn keys_choose_table_and_order() {
        let mut view = View::default();
        view.take(Reader::default().take(TEXT.as_bytes()).unwrap());
        let lines = shown(&view);
        assert!(lines[0].starts_with("hairpin, up 0 d 01:02:05   connections 2 of 100 (2 %)"), "{lines:#?}");
        assert!(lines[1].contains("1 flows") && lines[1].contains("4 drops"), "{lines:#?}");
        assert!(lines[2].starts_with("B/s") && lines[2].contains("destination"), "{lines:#?}");
        assert!(
            lines[3].starts_with("500") && lines[3].contains("12M") && lines[3].contains("192.168.1.2:1234"),
            "{lines:#?}"
        );
        assert!(view.press(KeyCode::Char('p')));
        assert!(shown(&view)[3].starts_with("100 "), "more packets");
        assert!(view.press(KeyCode::Char('3')));
        let lines = shown(&view);
        assert!(lines[3].contains("FORWARD") && lines[3].contains("-i lan0 -j ACCEPT"), "{lines:#?}");
        assert!(view.press(KeyCode::Tab));
        let lines = shown(&view);
        assert!(
            lines[3].starts_with("3") && lines[3].contains("77") && lines[3].contains("dropped by a rule"),
            "{lines:#?}"
        );
        assert!(lines[7].contains("by packets in a second"), "{lines:#?}");
        assert!(view.press(KeyCode::Char(' ')));
        view.take(Sample::default());
        assert!(shown(&view)[3].contains("dropped by a rule"), "it is paused");
        assert!(!view.press(KeyCode::Char('q')));
    }

    #[test]
    fn plain_text_has_all_tables() {
        let mut view = View::default();
        view.take(Reader::default().take(TEXT.as_bytes()).unwrap());
        let text = view.text();
        for part in ["flows\n", "192.168.1.3:40000", "talkers\n", "rules\n", "IPv4 filter FORWARD 2", "drops\n"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
