"""Parts of the depth recipe: disparity of a stereo pair, or depth from one eye."""
