"""A small segmentation task with real input, and a network trained on it.

Nothing is downloaded: scenes are composed at run time of the handwritten digits that
scikit-learn bundles (:mod:`sirfp_opt.demo.scenes`), and the network's weights ship
with the package (:mod:`sirfp_opt.demo.network`).  The demo is there to show the whole
way from a trained network to a smaller one; it needs the extra ``sirfp-opt[demo]``.
"""
