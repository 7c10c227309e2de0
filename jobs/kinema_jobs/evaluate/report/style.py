"""How the page looks: one column, large figures, and colours for light and for dark."""

from typing import Final

CSS: Final = """
:root{color-scheme:light dark;--page:#fbfaf8;--card:#fff;--ink:#1d2129;--soft:#5b6472;--line:#d9dce2;--good:#1a7f4b;
--fair:#b06f00;--poor:#c0362c;--mark:#3b5bdb}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f25;--ink:#e8eaee;--soft:#a2abb8;--line:#363b45;
--good:#4cc38a;--fair:#f0b45a;--poor:#ff7b72;--mark:#8aa4ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.35rem;margin:3rem 0 .2rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .5rem;color:var(--soft)}
p{margin:.4rem 0;max-width:46rem}
.lead,.soft,figcaption{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;margin:1.5rem 0;padding:0}
.cards a{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem;color:inherit;
text-decoration:none}
.cards b{display:block;font-size:1.5rem;line-height:1.3}
.good{color:var(--good)}.fair{color:var(--fair)}.poor{color:var(--poor)}
.row{display:grid;grid-template-columns:12rem 1fr 9.5rem;gap:.2rem .9rem;align-items:center;padding:.45rem 0;
border-bottom:1px solid var(--line)}
.row small{display:block;color:var(--soft)}
.row .value{text-align:right;font-variant-numeric:tabular-nums}
.row .means{grid-column:1/-1;font-size:.85rem;color:var(--soft);margin:0}
.track line,.curve path,.curve polyline{fill:none}
.axis{stroke:var(--line);stroke-width:2}
.chance{stroke:var(--soft);stroke-width:2;stroke-dasharray:2 2}
.floor{stroke:var(--mark);stroke-width:3}
.bar{stroke:var(--ink);stroke-width:2}
.control{fill:none;stroke:var(--soft);stroke-width:2}
.span{stroke-width:6;stroke-linecap:round;opacity:.35}
.span.good{stroke:var(--good)}.span.fair{stroke:var(--fair)}.span.poor{stroke:var(--poor)}
.span.plain{stroke:var(--mark)}
.dot.good{fill:var(--good)}.dot.fair{fill:var(--fair)}.dot.poor{fill:var(--poor)}.dot.plain{fill:var(--mark)}
.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}
.curve{margin:0}.curve svg{width:100%}.curve polyline{stroke:var(--mark);stroke-width:2}
.curve polyline.model{stroke:var(--ink);stroke-width:3}.curve .rule0{stroke:var(--soft);stroke-dasharray:2 4}
.curve .rule1{stroke:var(--fair);stroke-dasharray:8 4}.curve .rule2{stroke:var(--poor);stroke-dasharray:10 3 2 3}
.curve.broad{grid-column:1/-1}
.key{display:flex;flex-wrap:wrap;gap:.2rem 1rem}.curve .key svg{width:1.75rem;height:.5rem;margin-right:.4rem;
vertical-align:.1rem}
.curve text{fill:var(--soft);font-size:11px}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(12rem,1fr));gap:1rem}
.sheet figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.6rem}
.sheet img{display:block;image-rendering:pixelated;border-radius:.2rem}
.clip{width:auto;height:7rem;max-width:100%;object-fit:contain;object-position:left;margin-bottom:.4rem}
.strip{width:100%;height:auto}
.sheet figcaption{font-size:.85rem;margin-top:.4rem;overflow-wrap:anywhere}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;margin:.6rem 0}
th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);white-space:nowrap}
summary{cursor:pointer;color:var(--soft);padding:.5rem 0}
ul{padding-left:1.2rem}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;font-size:.85rem;color:var(--soft);padding:0;list-style:none}
.legend svg{width:1.4rem;height:1rem;vertical-align:-.2rem;margin-right:.3rem}
@media (max-width:40rem){.row{grid-template-columns:1fr auto}.row .track{grid-column:1/-1;grid-row:2}}
"""
