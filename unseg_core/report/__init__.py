"""The HTML report: what was protected, with which generator and budget, and did it work.

contents.py    what the page shows, as data that is already loaded
load.py        reads those data from the metrics, plots and copies that the stages left
records.py     reads JSON and CSV files with a check on every field
comparison.py  method against method: mean IoU, interval over seeds, ratio to clean
verdict.py     the sentences of the first screen, good or bad
charts.py      line, interval and histogram charts as inline SVG
pictures.py    gallery images as data: URIs
page.py        puts the parts into template.html.j2 (with page.css)
"""
