"""A release's model card."""

from collections.abc import Mapping

from contract.release import MANIFEST_FILE, Manifest


def render_model_card(manifest: Manifest, rows: Mapping[str, int]) -> str:
    """Describe a release to people, in Markdown.

    Args:
        manifest: What is known of it.
        rows: How many there are of each table: `train`, `val` and, where there is one, `test`.
    """
    params = ", ".join(f"`{key}={value}`" for key, value in manifest.params.items())
    scores = {"validation": manifest.validation_metrics, "test": manifest.test_metrics or {}}
    figures = [
        f"| {name} | {rows[table]:,} | {one['RMSE']:,.6g} | {one['MAPE']:.2%} | {one['R2']:.4f} |"
        for (name, one), table in zip(scores.items(), ("val", "test"), strict=True)
        if one
    ]
    optional = [one.name for one in manifest.columns if not one.required]
    lines = [
        f"# {manifest.model}, version {manifest.version}",
        "",
        f"Predicts `{manifest.label}` from {len(manifest.columns)} columns. {manifest.family}, "
        f"{params}; trained {manifest.created_at[:10]} on "
        f"{rows['train']:,} rows (data {manifest.data_digest[:12]}, "
        f"run {manifest.run_id}).",
        "",
        "| rows | number | RMSE | MAPE | R2 |",
        "|---|---:|---:|---:|---:|",
        *figures,
        "",
        "The model was chosen on the validation rows, and had not seen the test rows.",
        "",
        "## Input",
        "",
        f"A row has the columns of the training table under their names. {len(optional)} of "
        "them may be missing, as they were in training: a missing number is the mean of the "
        "nearest training rows, a missing text the most frequent one or a category of its own. "
        "A category that was not seen in training counts as none of those known.",
        "",
        f"Optional: {', '.join(f'`{name}`' for name in optional) or 'none'}.",
        "",
        "## Limits",
        "",
        "It knows the place and the years that its training table is from. Trees don't "
        "extrapolate, linear models do so without restraint: what a column held in training is "
        f"in `{MANIFEST_FILE}` (`profile`), to be compared with what it is asked.",
        "",
    ]
    return "\n".join(lines)
