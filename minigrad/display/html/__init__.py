"""The HTML report: one file that shows a run in any browser, with no network and no library.

`page` fills `template.html`, which holds everything that is the same for all runs; `parameter`
writes the section of one parameter, `slider` the frames of the recorded updates, `charts` draws
lines, and `images` the pictures.
"""
