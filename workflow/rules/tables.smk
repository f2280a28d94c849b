rule collect:
    input:
        records=records,
    output:
        runs="<results>/runs/{selection}.csv",
    log:
        "<results>/logs/collect/{selection}.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.results.collect"),
    shell:
        "sbs collect {input.records} --output {output.runs} > {log} 2>&1"


rule table:
    input:
        notebook="notebooks/{table}.py",
        runs="<results>/runs/{table}.csv",
        published="config/published.csv",
    output:
        csv="<results>/{table}.csv",
        markdown=report(
            "<results>/{table}.md",
            caption="../report/table.rst",
            category="Tables",
            labels=lambda wildcards: {"title": table_title(wildcards.table)},
        ),
        metrics=directory("<results>/metrics/{table}"),
        notebook="<results>/notebooks/{table}.ipynb",
        html="<results>/notebooks/{table}.html",
    log:
        notebook="<results>/logs/notebooks/{table}.ipynb",
        text="<results>/logs/notebooks/{table}.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.results.tables", "sbs.results.metrics"),
    shell:
        executed(
            "-p runs_path {input.runs} -p published_path {input.published}"
            " -p csv_path {output.csv} -p markdown_path {output.markdown}"
            " -p metrics_path {output.metrics}"
        )


rule figure4:
    input:
        notebook="notebooks/fig4.py",
        runs="<results>/runs/fig4.csv",
        published="config/published.csv",
    output:
        csv="<results>/fig4.csv",
        figure=report(
            "<results>/fig4.svg",
            caption="../report/fig4.rst",
            category="Figures",
            labels={"title": "Figure 4"},
        ),
        notebook="<results>/notebooks/fig4.ipynb",
        html="<results>/notebooks/fig4.html",
    log:
        notebook="<results>/logs/notebooks/fig4.ipynb",
        text="<results>/logs/notebooks/fig4.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.plots.figure4"),
    shell:
        executed(
            "-p runs_path {input.runs} -p published_path {input.published}"
            " -p csv_path {output.csv} -p figure_path {output.figure}"
        )


rule export:
    input:
        policy="<results>/search/{network}/{method}/{variant}/seed-{seed}/policy.json",
        weights="<results>/finetune/{network}/{method}/{variant}/seed-{seed}/weights.safetensors",
    output:
        network="<results>/export/{network}/{method}/{variant}/seed-{seed}/network.safetensors",
        sizes="<results>/export/{network}/{method}/{variant}/seed-{seed}/sizes.json",
    log:
        "<results>/logs/export/{network}/{method}/{variant}/seed-{seed}.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.stages.export"),
    shell:
        "sbs export --policy {input.policy} --weights {input.weights}"
        " --output {output.network} --sizes {output.sizes} > {log} 2>&1"


rule export_sizes:
    input:
        notebook="notebooks/export.py",
        runs="<results>/runs/table2.csv",
        sizes=exported,
    output:
        csv=report(
            "<results>/export.csv",
            caption="../report/export.rst",
            category="Tables",
            labels={"title": "Exported networks"},
        ),
        notebook="<results>/notebooks/export.ipynb",
        html="<results>/notebooks/export.html",
    log:
        notebook="<results>/logs/notebooks/export.ipynb",
        text="<results>/logs/notebooks/export.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.results.tables"),
    shell:
        executed(
            "-p sizes_paths '{input.sizes}' -p runs_path {input.runs}"
            " -p csv_path {output.csv}"
        )


rule trajectory:
    input:
        notebook="notebooks/trajectory.py",
        record=f"<results>/search/{scale.networks[0]}/sbs/default/seed-{scale.seeds[0]}/search.json",
    output:
        figure=report(
            "<results>/trajectory.svg",
            caption="../report/trajectory.rst",
            category="Figures",
            labels={"title": "One search"},
        ),
        notebook="<results>/notebooks/trajectory.ipynb",
        html="<results>/notebooks/trajectory.html",
    log:
        notebook="<results>/logs/notebooks/trajectory.ipynb",
        text="<results>/logs/notebooks/trajectory.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.plots.trajectory"),
    shell:
        executed("-p record_path {input.record} -p figure_path {output.figure}")
