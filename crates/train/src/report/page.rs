//! The report as a page: one file, nothing fetched, no scripts; what is pointed at explains itself.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::font::{self, Weight, plain};
use super::svg::escape;
use super::theme;
use super::{Content, Table};

/// How the page is laid out: columns of panels side by side, below each other where the window is narrow.
const LAYOUT: &str = "\
*{box-sizing:border-box}\
body{margin:0;padding:24px;background:var(--page);color:var(--text);font:14px/1.5 Inter,system-ui,sans-serif}\
main{max-width:1280px;margin:0 auto}\
h1{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}\
h2{font-size:15px;margin:0 0 2px}\
p{margin:0 0 4px;color:var(--muted);overflow-wrap:anywhere}\
svg{display:block;width:100%;height:auto}\
svg text{font-family:Inter,system-ui,sans-serif;text-rendering:geometricPrecision}\
.card,.tile{background:var(--card);border:1px solid var(--edge);border-radius:8px}\
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:16px 0}\
.tile{flex:1 1 150px;padding:10px 14px}\
.tile b{display:block;font-size:21px;line-height:1.35;font-weight:600}\
.tile span{display:block;font-size:12px;line-height:1.4;color:var(--muted)}\
.columns{display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start}\
.column{flex:1 1 340px;min-width:0;max-width:640px;display:flex;flex-direction:column;gap:16px}\
.wide{padding:14px 16px;margin-top:16px}\
.scroll{overflow-x:auto;margin-top:8px}\
table{border-collapse:collapse;font-size:12.5px;white-space:nowrap}\
td,th{padding:3px 12px 3px 0;text-align:right;font-weight:400}\
th{color:var(--muted);border-bottom:1px solid var(--edge)}\
.l{text-align:left}\
pre{margin:0;font-size:12px;overflow-x:auto}\
summary{cursor:pointer;color:var(--muted)}\
.hit:hover{fill:var(--text);fill-opacity:.07}\
@media(max-width:480px){body{padding:12px}.tile{flex-basis:130px}h1{font-size:20px}}\
@media print{body{background:#fff}.column{break-inside:avoid}}";

/// The page.
pub fn html(content: &Content) -> String {
    let mut body = String::new();
    let Content { title, lines, tiles, columns, tables, details, .. } = content;
    let shown = |text: &str| escape(&plain(text));
    let _ = write!(body, "<h1>{}</h1>", shown(title));
    for line in lines {
        let _ = write!(body, "<p>{}</p>", shown(line));
    }
    if !tiles.is_empty() {
        body.push_str("<div class=\"tiles\">");
        for tile in tiles {
            let (name, figure, note) = (shown(&tile.name), shown(&tile.figure), shown(&tile.note));
            let _ = write!(body, "<div class=\"tile\"><span>{name}</span><b>{figure}</b><span>{note}</span></div>");
        }
        body.push_str("</div>");
    }
    body.push_str("<div class=\"columns\">");
    for column in columns {
        body.push_str("<div class=\"column\">");
        for panel in column {
            let _ = write!(body, "<section class=\"card\">{}</section>", panel.canvas.inline(&panel.title));
        }
        body.push_str("</div>");
    }
    body.push_str("</div>");
    tables.iter().for_each(|table| push_table(&mut body, table));
    for (summary, text) in details {
        let (summary, text) = (shown(summary), escape(&without_control(text)));
        let _ = write!(
            body,
            "<div class=\"card wide\"><details><summary>{summary}</summary><pre>{text}</pre></details></div>"
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';font-src data:\">\
         <title>{}</title><style>{}{LAYOUT}{}</style></head><body><main>{body}</main></body></html>\n",
        shown(title),
        fonts(),
        theme::page_css(),
    )
}

fn push_table(body: &mut String, table: &Table) {
    let _ = write!(
        body,
        "<section class=\"card wide\"><h2>{}</h2><p>{}</p>",
        escape(table.heading),
        escape(table.explanation)
    );
    body.push_str("<div class=\"scroll\"><table>");
    for (at, row) in table.rows.iter().enumerate() {
        body.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let (tag, class) =
                (if at == 0 { "th" } else { "td" }, if column < table.labels { " class=\"l\"" } else { "" });
            let _ = write!(body, "<{tag}{class}>{}</{tag}>", escape(&plain(cell)));
        }
        body.push_str("</tr>");
    }
    body.push_str("</table></div></section>");
}

/// The embedded font, so that labels are as wide as they were reckoned to be.
fn fonts() -> String {
    let face = |(weight, file): &(Weight, &[u8])| {
        let weight = if *weight == font::Weight::Regular { "400" } else { "600" };
        let data = STANDARD.encode(file);
        format!("@font-face{{font-family:Inter;font-weight:{weight};src:url(data:font/ttf;base64,{data})}}")
    };
    font::FILES.iter().map(face).collect()
}

/// Text of several lines without other control characters.
fn without_control(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}
