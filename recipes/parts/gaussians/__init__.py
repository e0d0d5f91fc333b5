"""Parts of the vae recipe: sets of 2D Gaussians, their pictures, and an autoencoder over them."""
