"""The deleveraging machine: a simulated venue with a crowd of leveraged traders."""
