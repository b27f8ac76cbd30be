"""The images and their labels, the classes and how they are related: everything that does not depend on a model."""
