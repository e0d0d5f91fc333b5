"""Parts of the spatial recipe: the markers of a multiplexed image from H&E."""
