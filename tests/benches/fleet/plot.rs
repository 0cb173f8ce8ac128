//! The plot, as text: bars for the shares, lines for the first minutes.

use std::fmt::Write as _;

/// Groups of bars, one bar for each rule.
#[derive(Debug)]
pub(crate) struct Bars {
    pub(crate) title: &'static str,
    /// The number of proxies and a share for each rule.
    pub(crate) groups: [(usize, [f64; 4]); 3],
}

/// Two panels of bars, and one of lines: for each line the colour's number and what was accepted and refused in each second.
pub(crate) fn draw(names: &[&str; 4], panels: &[Bars; 2], lines: &[(usize, Vec<(u32, u32)>); 2]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 500\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"500\" fill=\"white\"/>\n",
    );
    for (index, name) in names.iter().enumerate() {
        let x = 40 + 170 * index;
        let _ = writeln!(svg, "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{}\"/>", COLOURS[index]);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"22\">{name}</text>", x + 18);
    }
    for (panel, left) in panels.iter().zip([40, 410]) {
        bars(&mut svg, panel, left);
    }
    series(&mut svg, lines);
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, panel: &Bars, left: usize) {
    let (top, height) = (70.0, 150.0);
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"50\" font-weight=\"bold\">{}</text>", panel.title);
    grid(svg, left, 310, top, height, &[(0.0, "0"), (0.5, "50 %"), (1.0, "100 %")]);
    for (group, (proxies, shares)) in panel.groups.iter().enumerate() {
        let from = left + 40 + 92 * group;
        for (rule, share) in shares.iter().enumerate() {
            let tall = share.min(1.0) * height;
            let (x, y) = (from + 19 * rule, top + height - tall);
            let colour = COLOURS[rule];
            let _ = writeln!(svg, "<rect x=\"{x}\" y=\"{y:.1}\" width=\"17\" height=\"{tall:.1}\" fill=\"{colour}\"/>");
        }
        let label = if *proxies == 1 { "1 proxy".to_owned() } else { format!("{proxies} proxies") };
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", from + 37, top + height + 18.0);
    }
}

/// Sent and accepted in each second; the gap between the two is waste.
fn series(svg: &mut String, lines: &[(usize, Vec<(u32, u32)>); 2]) {
    let (left, width, top, height) = (40, 680.0_f64, 300.0, 160.0_f64);
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"280\" font-weight=\"bold\">10 proxies, the first two minutes: sent (thin) and accepted (thick) in each second</text>"
    );
    grid(svg, left, 680, top, height, &[(0.0, "0"), (0.25, "100"), (0.5, "200"), (0.75, "300"), (1.0, "400")]);
    for (colour, seconds) in lines.iter().rev() {
        let mut line = |stroke: f64, of: fn(&(u32, u32)) -> u32| {
            let points = seconds.iter().take(120).enumerate().map(|(second, counts)| {
                let (x, y) = (second as f64 / 120.0, f64::from(of(counts)) / 400.0);
                format!("{:.1},{:.1}", width.mul_add(x, 40.0), height.mul_add(-y.min(1.0), top + height))
            });
            let points = points.collect::<Vec<_>>().join(" ");
            let stroke = format!("stroke=\"{}\" stroke-width=\"{stroke}\"", COLOURS[*colour]);
            let _ = writeln!(svg, "<polyline fill=\"none\" {stroke} points=\"{points}\"/>");
        };
        line(0.8, |(accepted, refused)| accepted + refused);
        line(2.0, |(accepted, _)| *accepted);
    }
    for second in [0, 30, 60, 90, 120] {
        let x = width.mul_add(f64::from(second) / 120.0, 40.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"480\" text-anchor=\"middle\">{second} s</text>");
    }
}

fn grid(svg: &mut String, left: usize, width: usize, top: f64, height: f64, marks: &[(f64, &str)]) {
    for (at, label) in marks {
        let (y, right) = (height.mul_add(-at, top + height), left + width);
        let _ = writeln!(svg, "<line x1=\"{left}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" fill=\"#777\" font-size=\"10\">{label}</text>", left + 2, y - 2.0);
    }
}

const COLOURS: [&str; 4] = ["#0b6e4f", "#f2a541", "#6c8ebf", "#c44536"];
