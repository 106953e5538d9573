"""A release's model card."""

from collections.abc import Mapping

from contract.release import MANIFEST_FILE, Manifest


def render_model_card(manifest: Manifest, rows: Mapping[str, int]) -> str:
    """Return a description of a release for people, in Markdown.

    Args:
        manifest: The release's manifest.
        rows: The number of rows of each table: `train`, `val` and, if there is one, `test`.
    """
    params = ", ".join(f"`{key}={value}`" for key, value in manifest.params.items())
    metrics = {"validation": manifest.validation_metrics, "test": manifest.test_metrics or {}}
    table = [
        f"| {name} | {rows[key]:,} "
        f"| {scores['RMSE']:,.6g} | {scores['MAPE']:.2%} | {scores['R2']:.4f} |"
        for (name, scores), key in zip(metrics.items(), ("val", "test"), strict=True)
        if scores
    ]
    optional = [column.name for column in manifest.columns if not column.required]
    lines = [
        f"# {manifest.model}, version {manifest.version}",
        "",
        f"Predicts `{manifest.label}` from {len(manifest.columns)} columns. Model: "
        f"{manifest.family}, {params}. Trained on {manifest.created_at[:10]} on "
        f"{rows['train']:,} rows (data {manifest.data_digest[:12]}, "
        f"run {manifest.run_id}).",
        "",
        "| Rows | Number | RMSE | MAPE | R2 |",
        "|---|---:|---:|---:|---:|",
        *table,
        "",
        "The model was selected by its metrics on the validation rows. The test rows were used for "
        "nothing else than this table.",
        "",
        "## Input",
        "",
        "A row has the columns of the training table, under the same names. "
        f"{len(optional)} of them may be missing, because training rows lacked them too. A missing "
        "number is replaced by the mean of the nearest training rows. A missing text is replaced "
        "by the most frequent one, or is a category of its own. An unknown category, one that was "
        "not in the training rows, counts as none of the known ones.",
        "",
        f"Optional: {', '.join(f'`{name}`' for name in optional) or 'none'}.",
        "",
        "## Limits",
        "",
        "The predictions hold for data like the training table, from the same places and years. "
        "Trees don't extrapolate; linear models extrapolate without bounds. "
        f"`{MANIFEST_FILE}` has the distribution of each training column (`profile`): compare live "
        "data with it.",
        "",
    ]
    return "\n".join(lines)
