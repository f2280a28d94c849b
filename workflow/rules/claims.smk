# What the paper claims, judged by all runs of a scale.


rule claims:
    input:
        notebook="notebooks/claims.py",
        claims="config/claims.yaml",
        runs="<results>/runs/all.csv",
        theory="<results>/theory.csv",
        published="config/published.csv",
    output:
        csv=report(
            "<results>/claims.csv",
            caption="../report/claims.rst",
            category="Claims",
            labels={"title": "What the paper claims"},
        ),
        markdown="<results>/claims.md",
        metrics="<results>/metrics/claims.json",
        notebook="<results>/notebooks/claims.ipynb",
        html="<results>/notebooks/claims.html",
    log:
        notebook="<results>/logs/notebooks/claims.ipynb",
        text="<results>/logs/notebooks/claims.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.results.claims", "sbs.results.metrics"),
    shell:
        executed(
            "-p claims_path {input.claims} -p runs_path {input.runs}"
            " -p theory_path {input.theory} -p published_path {input.published}"
            " -p csv_path {output.csv} -p markdown_path {output.markdown}"
            " -p metrics_path {output.metrics}"
        )
