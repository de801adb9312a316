"""The looks of the page: colours and type are those of the daemon's page (web/static/style.css)."""

STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f3f4f7; --surface: #fff; --raised: #f3f4f8; --sunken: #e9ebf0; --ink: #13161e; --soft: #3e4553;
  --muted: #5d6575; --line: #e2e5eb; --accent: #4d44cf; --heat: 77 68 207;
  --warn: #8a5200; --warn-tint: #fdf0d8; --bad: #b3243a; --bad-tint: #fce8ea;
  --font: "Inter", -apple-system, "Segoe UI", Roboto, "Noto Sans", Ubuntu, Cantarell, "DejaVu Sans Condensed",
    system-ui, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #0c0e13; --surface: #14171e; --raised: #1d212b; --sunken: #0e1016; --ink: #edeff5; --soft: #bfc5d2;
    --muted: #8f97a8; --line: #232833; --accent: #a39dff; --heat: 130 122 255;
    --warn: #f0b656; --warn-tint: #2d2312; --bad: #ff828d; --bad-tint: #331a1f;
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { background: var(--bg); -webkit-text-size-adjust: 100%; }
body { margin: 0; font: 400 14px/1.45 var(--font); font-variant-numeric: tabular-nums; color: var(--ink); }
main { max-width: 1400px; margin: 0 auto; padding: 24px 20px 48px; display: grid; gap: 28px;
  grid-template-columns: minmax(0, 1fr); }
h1, h2, h3, p, dl, dd, ul { margin: 0; padding: 0; }
h1 { font-size: 24px; font-weight: 650; letter-spacing: -0.015em; }
h2 { font-size: 17px; font-weight: 600; letter-spacing: -0.005em; }
h3 { font-size: 15px; font-weight: 600; overflow-wrap: anywhere; }
a { color: var(--accent); text-underline-offset: 2px; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 6px; }
header, section { display: grid; gap: 10px; grid-template-columns: minmax(0, 1fr); }
p { max-width: 90ch; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.muted { color: var(--muted); font-size: 12.5px; }
.warn, .bad { padding: 10px 14px; border-radius: 10px; max-width: none; }
.warn { background: var(--warn-tint); color: var(--warn); }
.bad { background: var(--bad-tint); color: var(--bad); }
.warn a, .bad a { color: inherit; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; }
.stats { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; }
.stat, article, .scroll { border: 1px solid var(--line); border-radius: 12px; background: var(--surface); }
.stat { padding: 12px 14px; }
.stat dt { color: var(--muted); font-size: 12.5px; }
.stat dd { font-size: 22px; font-weight: 600; letter-spacing: -0.015em; }
.stat.bad dt { color: inherit; }
.settings { display: flex; flex-wrap: wrap; gap: 4px 24px; font-size: 13px; }
.settings dt { display: inline; color: var(--muted); }
.settings dd { display: inline; margin-left: 6px; }
.cards { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 310px), 1fr)); }
article { padding: 14px; display: flex; flex-direction: column; gap: 8px; min-width: 0; }
article header { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 2px 12px; }
article audio { width: 100%; height: 36px; }
article p { font-size: 12.5px; }
figure { margin: 0; }
.picture { position: relative; height: 132px; border-radius: 6px; overflow: hidden; background: #000; }
.picture img { width: 100%; height: 100%; display: block; }
.picture i { position: absolute; top: 0; bottom: 0; border: solid rgb(255 255 255 / 80%); border-width: 0 1.5px; }
.picture b { position: absolute; left: 5px; transform: translateY(50%); font: 500 10.5px var(--font); color: #fff;
  text-shadow: 0 0 2px #000, 0 0 4px #000; }
figcaption { display: flex; justify-content: space-between; color: var(--muted); font-size: 11.5px; margin-top: 2px; }
.scroll { overflow: auto; max-height: min(78vh, 760px); }
table { border-collapse: separate; border-spacing: 0; font-size: 12.5px; width: 100%; }
th, td { padding: 3px 6px; border-bottom: 1px solid var(--line); white-space: nowrap; text-align: right; }
tbody tr:last-child > * { border-bottom: 0; }
th { font-weight: 500; }
thead th { position: sticky; top: 0; z-index: 1; background: var(--raised); color: var(--soft); }
th:first-child { position: sticky; left: 0; z-index: 1; background: var(--surface); text-align: left;
  padding-left: 12px; }
thead th:first-child { z-index: 2; background: var(--raised); }
tbody th { max-width: 300px; overflow: hidden; text-overflow: ellipsis; }
.heat { width: fit-content; max-width: 100%; }
.heat td { min-width: 34px; }
.effort > * { color: var(--muted); background: var(--surface); font-style: italic; }
.none { background: var(--sunken); }
thead th { vertical-align: bottom; }
.rest > * { color: var(--muted); }
.words :is(th, td) { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 120px; }
.words th { max-width: 460px; white-space: normal; overflow-wrap: anywhere; min-width: 150px; }
.mixed :is(th, td):last-child { text-align: left; }
SHADES
@media (max-width: 560px) {
  main { padding: 16px 12px 32px; }
  th:first-child { padding-left: 8px; }
  tbody th { max-width: 128px; }
  .stats { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media print {
  .scroll { max-height: none; overflow: visible; }
  audio { display: none; }
}
""".replace("SHADES", "\n".join(f".s{n} {{ background: rgb(var(--heat) / {6 + 6 * n}%); }}" for n in range(1, 10)))
