"""The classroom: exercises are functions of the library with the body removed, and the library's own tests are their checks.

`manifest.py` what is asked · `splice.py` one function put into the library · `trees.py` the untouched library, wherever it is kept ·
`warm.py` one check in a process of its own · `checks.py` the verdict, and mistakes known by name · `handout.py`, `grade.py` for teachers ·
`learner.py` check, hint, watch · `overview.py` what `pytest` alone shows in a hand-out.
"""
