"""Write trials for other programs and papers, or one trial as a space file.

The leaderboard (trained trials within the budget, best first), or all trials,
as CSV (default), JSON, Markdown or LaTeX (booktabs). CSV and JSON hold plain
values: accuracies in 0..1, bytes, OPs, seconds. With --trial the output is a
space file that trains exactly that candidate: `searcher train FILE`.

Examples:
  searcher export runs/demo --csv > demo.csv
  searcher export demo --all --json --out demo.json
  searcher export demo --md --top 10 --columns trial,hidden,accuracy,memory
  searcher export demo --latex --where 'downsample*==fp16' --out table.tex
  searcher export demo --trial 4 --out winner.yaml
"""

from __future__ import annotations
