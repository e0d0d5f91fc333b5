"""What recipes are made of: a folder a domain, and here what two or more of them use."""
