"""Parts of the flow recipe: the motion of each pixel to the next frame, learned without labels."""
