"""Passes and the recipes made of them."""

from edgekit_converters.passes.plan import apply_recipe, format_name, precision_name, recipe_for

__all__ = ["apply_recipe", "format_name", "precision_name", "recipe_for"]
