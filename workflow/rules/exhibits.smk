# Tables and figures: one rule per notebook, made from its header (sbs/registry/exhibits.py).


for exhibit in exhibits.values():

    rule:
        name:
            f"exhibit_{exhibit.name}"
        input:
            unpack(inputs(exhibit)),
        output:
            **outputs(exhibit),
            notebook=f"<results>/notebooks/{exhibit.name}.ipynb",
            html=f"<results>/notebooks/{exhibit.name}.html",
        log:
            notebook=f"<results>/logs/notebooks/{exhibit.name}.ipynb",
            text=f"<results>/logs/notebooks/{exhibit.name}.log",
        conda:
            "../../environment.yml"
        params:
            code=source_digest(*exhibit.modules),
            caption=exhibit.caption_for(config),
            arguments=arguments(exhibit),
        # The executed notebook is a log, so it survives a failure; on success it is copied as an output.
        # The command must not use the variable `exhibit`: it is read when the job runs, after the loop.
        shell:
            "(jupytext --quiet --to ipynb --output - {input.notebook}"
            " | papermill --no-progress-bar {params.arguments} - {log.notebook}"
            " && cp {log.notebook} {output.notebook}"
            " && jupyter nbconvert --log-level WARN --to html --output-dir $(dirname {output.html})"
            " {output.notebook}) > {log.text} 2>&1"


# DVC cannot know the names of these files. It gets two folders.
rule gather:
    input:
        tables=made_files(figures=False),
        figures=made_files(figures=True),
    output:
        directory("<results>/exhibits"),
    log:
        "<results>/logs/gather.log",
    conda:
        "../../environment.yml"
    shell:
        "(mkdir -p {output}/tables {output}/figures"
        " && cp {input.tables} {output}/tables && cp {input.figures} {output}/figures)"
        " > {log} 2>&1"
