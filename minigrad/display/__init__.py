"""Display: how runs, parameters and arrays are shown, in text, notebooks, pictures and HTML.

It shows anything that has the public attributes in `shown`. `words` and `sentences` say it,
`drawing` draws it, `png` and `characters` write pictures; `pictures`, `animation`, `text_report`,
`notebook_report` and `html` are what users see.
"""
