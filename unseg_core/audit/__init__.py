"""The audit: small models trained on a protected copy and on its source, and what their scores say about the copy.

pair.py      the copy beside its source, matched image by image
trivial.py   what can be scored without looking at the images
ratio.py     score against score, with an interval over images and seeds
verdict.py   protected, not protected, or cannot tell
run.py       trains, within the time there is
words.py     the result for people
"""
