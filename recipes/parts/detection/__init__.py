"""Parts of the detection recipe: boxes, classes and scores of the objects in a picture."""
