"""The contract: types of the custom resources, names and keys, launch descriptions, wire types."""
