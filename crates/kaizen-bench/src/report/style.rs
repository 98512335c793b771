//! The page's look and its one script.

/// Colours `--c0..` that the sheet defines: Okabe and Ito's set (Color Universal Design, 2008), tuned per theme to
/// stand 3:1 against the card.
pub(super) const HUES: usize = 7;

/// The style sheet.
pub(super) const SHEET: &str = r"
:root{color-scheme:light dark;--bg:#f4f6f8;--card:#fff;--ink:#14202b;--soft:#566472;--rule:#dfe5ea;--track:#edf1f4;
--c0:#0072b2;--c1:#c94f00;--c2:#00845f;--c3:#b0528a;--c4:#a06a00;--c5:#2d86bd;--c6:#5b6570;
--low:#eaf2f7;--mid:#57a3c5;--high:#083860;--pale:#06141f;--deep:#fff}
@media(prefers-color-scheme:dark){:root{--bg:#0e1319;--card:#161d25;--ink:#e8eef3;--soft:#9aa8b5;--rule:#2a343f;--track:#202933;
--c0:#56b4e9;--c1:#ff8a4c;--c2:#2fc79d;--c3:#e79cc6;--c4:#f0b93a;--c5:#8fb0ff;--c6:#b6c0c9;
--low:#1e2a36;--mid:#23608a;--high:#b3e6fb;--pale:#f4fafd;--deep:#03121c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','Noto Sans',Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
header{margin:0 0 28px}
h1{font-size:clamp(1.65rem,1.2rem + 2vw,2.4rem);line-height:1.15;letter-spacing:-.02em;margin:0;text-wrap:balance;overflow-wrap:anywhere}
h2{font-size:1.06rem;line-height:1.3;letter-spacing:-.005em;margin:0 0 14px;overflow-wrap:anywhere}
.sub{font-size:1.08rem;color:var(--soft);margin:8px 0 0;max-width:46rem;text-wrap:pretty}
dl{display:flex;flex-wrap:wrap;gap:14px 36px;margin:22px 0 0;padding:16px 0 0;border-top:1px solid var(--rule)}
dt{font-size:.8rem;color:var(--soft)}
.lead-in{font-size:.88rem;color:var(--soft);margin:-9px 0 16px;max-width:46rem;overflow-wrap:anywhere}
.long{flex-basis:100%;grid-column:1/-1}
dd{margin:0;font-size:.95rem;font-weight:550;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:20px}
.card{background:var(--card);border:1px solid var(--rule);border-radius:14px;padding:20px 22px;min-width:0}
.wide{grid-column:1/-1}
.text{padding:4px 2px;max-width:46rem}
.text p{margin:0 0 .8em;overflow-wrap:anywhere;white-space:pre-line}
.text p:last-child{margin:0}
.note{font-size:.88rem;color:var(--soft);margin:12px 0 0;max-width:46rem;overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-width:100%}
.scroll:focus-visible,summary:focus-visible,th button:focus-visible{outline:2px solid var(--c0);outline-offset:2px;border-radius:4px}
svg{display:block;height:auto;font-family:inherit;font-variant-numeric:tabular-nums}
.chart{width:100%;max-width:620px;overflow:visible}
.matrix{max-width:100%}
text{fill:var(--ink);font-size:13px}
.lab,.tick{fill:var(--soft);font-size:12.5px}
.matrix .lab{font-size:13px}
.end{font-size:13.5px}
.val{font-weight:650}
.grid,.axis{stroke:var(--rule);fill:none}
.axis{stroke:var(--soft);opacity:.7}
.cell.low{fill:color-mix(in oklab,var(--mid) var(--p),var(--low))}
.cell.high{fill:color-mix(in oklab,var(--high) var(--p),var(--mid))}
.cell.none{fill:none;stroke:var(--rule);stroke-dasharray:3 3}
.ring{fill:none;stroke:var(--ink);stroke-width:2}
text.num{font-size:15px;font-weight:600}
.num.pale{fill:var(--pale)}.num.deep{fill:var(--deep)}text.num.gone{fill:var(--soft);font-weight:400}
.key{display:flex;flex-wrap:wrap;gap:4px 22px;font-size:.82rem;color:var(--soft);margin:12px 0 0}
.key span{display:inline-flex;align-items:center}
.key i{display:inline-block;margin:0 8px}
.ramp{width:92px;height:10px;border-radius:5px;background:linear-gradient(90deg in oklab,var(--low),var(--mid),var(--high));border:1px solid var(--rule)}
.ringkey{width:18px;height:12px;border:2px solid var(--ink);border-radius:3px}
.key .ringkey{margin-left:0}
.line{fill:none;stroke:var(--c);stroke-linejoin:round;stroke-linecap:round}
.dot{fill:var(--c);stroke:var(--card);stroke-width:1.5}
.lead{fill:none;stroke:var(--c);stroke-width:1;opacity:.65}
tspan{fill:inherit}
.bar{fill:var(--c)}
.whisker{stroke:var(--ink);stroke-width:1.6;fill:none}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}
tspan[class^=c]{fill:var(--c);font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.93rem;font-variant-numeric:tabular-nums}
th,td{padding:8px 14px;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap}
tr>:first-child{padding-left:0}tr>:last-child{padding-right:0}
thead th{font-size:.84rem;font-weight:550;color:var(--soft);border-bottom-color:var(--soft)}
tbody th{font-weight:550}
tr>th:first-child{position:sticky;left:0;background:var(--card)}
tbody tr:last-child>*{border-bottom:0}
th.n,td.n{text-align:right}
td strong,th strong{font-weight:750;color:var(--c0)}
th button{all:unset;cursor:pointer;color:inherit;font:inherit}
th button::after{content:'↕';opacity:.45;margin-left:.4em;font-size:.9em}
th.n button::after{margin-right:-.1em}
[aria-sort=ascending] button::after{content:'↑';opacity:1}
[aria-sort=descending] button::after{content:'↓';opacity:1}
details{margin-top:12px;font-size:.88rem;color:var(--soft)}
summary{cursor:pointer;width:fit-content}
details table{color:var(--ink);width:auto;margin-top:6px}
figure{margin:0;min-width:0}
img{display:block;width:100%;aspect-ratio:1;object-fit:cover;border-radius:10px;background:var(--track);image-rendering:auto}
figcaption{display:flex;flex-wrap:wrap;align-items:center;gap:0 8px;font-size:.85rem;line-height:1.45;margin-top:7px}
.name{font-weight:600;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;flex:0 0 100%}
.prob{color:var(--soft);font-variant-numeric:tabular-nums}
.meter{flex:1;height:4px;border-radius:2px;background:linear-gradient(90deg,var(--c0) var(--p),var(--track) 0)}
@media(max-width:860px){.cards{grid-template-columns:minmax(0,1fr)}}
@media(max-width:520px){main{padding:26px 14px 44px}.card{padding:16px 14px;border-radius:12px}.cards{gap:14px}
dl{display:grid;grid-template-columns:1fr 1fr;gap:12px 18px}
.chart text{font-size:15px}.matrix .lab{font-size:15px}.matrix text.num{font-size:17px}
tbody th{white-space:normal;min-width:7.5rem;overflow-wrap:anywhere}}
@media print{body{background:none}.card{break-inside:avoid}}
";

/// Adds a button to each column heading of a table marked `data-sort`; without it the table stays as written.
/// Written without the characters that XML reserves.
pub(super) const SORT: &str = r"
for (const table of document.querySelectorAll('table[data-sort]')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const up = head.getAttribute('aria-sort') === 'descending' || (head.ariaSort === null ? !head.classList.contains('n') : false);
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = row => row.cells[column].dataset.k;
      const order = (a, b) => head.classList.contains('n') ? key(a) - key(b) : a.cells[column].textContent.localeCompare(b.cells[column].textContent);
      const gone = row => head.classList.contains('n') ? key(row) === undefined : false;
      body.append(...[...body.rows].sort((a, b) => gone(a) - gone(b) || (up ? order(a, b) : order(b, a))));
    };
  });
}
";
