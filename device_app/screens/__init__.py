"""The Kivy app, and the only place that imports Kivy. `app.run_app` opens the window on a `LiveSession`; each screen is
one .py with one .kv beside it. What the screens decide imports no Kivy: which picture may carry which overlay
(`choosing`), what a figure may say (`readings`), which states are told (`notices`), every word (`texts`), every colour
and size (`theme`).
"""
