"""The HTML report: one file that shows a run in any browser, without a network and without a
library.

`drawing` lays parameters out as pictures, `charts` draws lines, `film` is the slider's pictures,
`parameter` writes the section of one parameter, and `page` puts all into `template.html`, which
holds everything that is the same for all runs.
"""
