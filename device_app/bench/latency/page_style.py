"""How the page looks: light and dark as the reader's screen is set, a phone's width, and one sheet of paper."""

from __future__ import annotations

STYLE = """
:root {
  --page: #f4f5f7; --card: #ffffff; --ink: #16191d; --soft: #545c66; --line: #d5dae0;
  --ours: #1f5fbf; --other: #b4500a; --third: #0b7a5b;
  --good: #11683a; --good-back: #e2f3e8; --bad: #a3161f; --bad-back: #fbe6e6; --warn: #7a4b00; --warn-back: #fdf1d8;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #101317; --card: #191d23; --ink: #e9ecef; --soft: #a6afba; --line: #363d47;
    --ours: #78aef7; --other: #f3a15c; --third: #5fcfa6;
    --good: #7fdba4; --good-back: #14301f; --bad: #ff9d9a; --bad-back: #3b1719; --warn: #f3c872; --warn-back: #33260c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 16px; max-width: 1080px; background: var(--page); color: var(--ink);
  font: 14px/1.45 system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums;
}
h1, h2, p, dl, dd, ul, figure { margin: 0; }
h1 { font-size: 15px; font-weight: 600; }
h2 { font-size: 15px; font-weight: 650; margin-bottom: 6px; }
ul { padding-left: 1.2em; }
.soft, figcaption { color: var(--soft); font-size: 12.5px; }
.top { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 16px; margin-bottom: 10px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; min-width: 0; }
.grid { display: grid; gap: 12px; margin-top: 12px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.wide { margin-top: 12px; }
.rooms { columns: 2; column-gap: 12px; margin-top: 12px; }
.rooms .card { break-inside: avoid; margin-bottom: 12px; }
.rooms ul { font-size: 13px; }
.rooms tbody th { font-weight: 400; }
.verdict { display: grid; grid-template-columns: auto 1fr; gap: 10px 24px; align-items: center; border-width: 2px; }
.verdict .word { font-size: 44px; line-height: 1.05; font-weight: 750; letter-spacing: .01em; }
.verdict.valid { background: var(--good-back); border-color: var(--good); }
.verdict.valid .word { color: var(--good); }
.verdict.invalid { background: var(--bad-back); border-color: var(--bad); }
.verdict.invalid .word { color: var(--bad); }
.notes { margin-top: 8px; color: var(--soft); font-size: 13px; }
.demonstration {
  margin-top: 12px; background: var(--warn-back); border: 1px solid var(--warn); color: var(--warn); border-radius: 8px;
  padding: 6px 14px; font-weight: 600;
}
.figures { display: grid; gap: 12px; margin-top: 12px; grid-template-columns: repeat(5, minmax(0, 1fr)); }
.figures .card { padding: 8px 14px; }
.figures dt { color: var(--soft); font-size: 12.5px; }
.figures dd { font-size: 22px; font-weight: 650; line-height: 1.25; white-space: nowrap; }
.figures small { font-size: 13px; font-weight: 400; color: var(--soft); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 1px 14px; font-size: 13px; }
.facts dt { color: var(--soft); }
.facts dd { min-width: 0; overflow-wrap: anywhere; }
.facts + .soft, .facts + ul, .scroll + .soft, .scroll + div, .bad + .soft, ul + .soft { margin-top: 6px; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--ours); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 2px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
tbody th, thead th:first-child { text-align: left; padding-left: 0; }
tbody th { position: sticky; left: 0; background: var(--card); }
td:last-child { padding-right: 0; }
th.wrap, td.wrap { white-space: normal; text-align: left; }
th.wrap { position: static; min-width: 15em; }
th.wrap .soft { font-weight: 400; }
tr.part { color: var(--soft); }
tr.part th { padding-left: 14px; font-weight: 400; }
tr.group th { padding-left: 0; color: var(--soft); font-weight: 400; }
tr.whole { font-weight: 650; }
tr.whole > * { border-top: 2px solid var(--ink); }
.bad { color: var(--bad); }
.good { color: var(--good); }
span.bad, span.good { font-weight: 650; }
svg.plot { display: block; width: 100%; height: auto; }
svg.plot * { stroke-linejoin: round; stroke-linecap: butt; }
figcaption { margin-top: 4px; }
footer { margin-top: 12px; color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
@media (max-width: 720px) {
  body { padding: 10px; }
  .grid { grid-template-columns: minmax(0, 1fr); }
  .rooms { columns: 1; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .figures .card:last-child { grid-column: span 2; }
  .verdict { grid-template-columns: minmax(0, 1fr); }
  .card { padding: 10px; }
}
@page { size: A4; margin: 7mm 8mm; }
@media print {
  body { font-size: 7.1pt; line-height: 1.22; padding: 0 .4mm 0 0; max-width: none; background: none; }
  h1 { font-size: 8.5pt; }
  h2 { font-size: 8.5pt; margin-bottom: 1mm; }
  .top { margin-bottom: 1mm; }
  .soft, .notes, figcaption, footer, .facts, table, .figures dt { font-size: 6.1pt; }
  .card { border-radius: 1mm; padding: 1.2mm 2mm; break-inside: avoid; }
  .grid, .figures { gap: 1.4mm; margin-top: 1.4mm; }
  .wide, .demonstration, footer { margin-top: 1.4mm; }
  .demonstration { padding: .6mm 2mm; border-radius: 1mm; }
  .verdict { gap: 1mm 5mm; }
  .verdict .word { font-size: 18pt; }
  .figures .card { padding: .6mm 2mm; }
  .figures dd { font-size: 11pt; }
  .figures small { font-size: 7pt; }
  .notes { margin-top: .6mm; }
  th, td { padding: .15mm 1.2mm; }
  .plots { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .plots figure { padding: .8mm 1.5mm; }
  .rooms { columns: 3; column-gap: 1.4mm; margin-top: 1.4mm; }
  .rooms .card { margin-bottom: 1.2mm; }
  .rooms ul { font-size: 6.1pt; }
  .rooms tbody th { white-space: normal; overflow-wrap: anywhere; }
  .rooms th, .rooms td { padding: 0 .5mm; }
  tbody th { position: static; }
  .scroll { overflow: visible; }
  svg.plot { max-height: 30mm; }
  figcaption { margin-top: 0; }
  th, td { line-height: 1.15; }
  .card, .verdict, .demonstration { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
