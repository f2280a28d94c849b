# What the paper proves, checked and measured; nothing here depends on the scale.


rule study:
    output:
        table="<results>/theory/{study}.csv",
    log:
        "<results>/logs/theory/{study}.log",
    conda:
        "../../environment.yml"
    threads: 1
    params:
        code=source_digest("sbs.theory.studies"),
    shell:
        "sbs study {wildcards.study} --output {output.table} > {log} 2>&1"


rule fig2:
    input:
        notebook="notebooks/fig2.py",
        bound="<results>/theory/error-bound.csv",
    output:
        csv="<results>/fig2.csv",
        figure=report(
            "<results>/fig2.svg",
            caption="../report/fig2.rst",
            category="Figures",
            labels={"title": "Figure 2"},
        ),
        notebook="<results>/notebooks/fig2.ipynb",
        html="<results>/notebooks/fig2.html",
    log:
        notebook="<results>/logs/notebooks/fig2.ipynb",
        text="<results>/logs/notebooks/fig2.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.plots.theory"),
    shell:
        executed(
            "-p bound_path {input.bound} -p csv_path {output.csv}"
            " -p figure_path {output.figure}"
        )


rule fig3:
    input:
        notebook="notebooks/fig3.py",
        curves="<results>/theory/toy-curves.csv",
        numbers="<results>/theory/toy-numbers.csv",
        limits="<results>/theory/toy-limits.csv",
    output:
        csv="<results>/fig3.csv",
        figure=report(
            "<results>/fig3.svg",
            caption="../report/fig3.rst",
            category="Figures",
            labels={"title": "Figure 3"},
        ),
        notebook="<results>/notebooks/fig3.ipynb",
        html="<results>/notebooks/fig3.html",
    log:
        notebook="<results>/logs/notebooks/fig3.ipynb",
        text="<results>/logs/notebooks/fig3.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.plots.theory"),
    shell:
        executed(
            "-p curves_path {input.curves} -p numbers_path {input.numbers}"
            " -p limits_path {input.limits} -p csv_path {output.csv}"
            " -p figure_path {output.figure}"
        )


rule theory:
    input:
        notebook="notebooks/theory.py",
        statements="<results>/theory/statements.csv",
        numbers="<results>/theory/toy-numbers.csv",
        limits="<results>/theory/toy-limits.csv",
    output:
        csv="<results>/theory.csv",
        markdown=report(
            "<results>/theory.md",
            caption="../report/theory.rst",
            category="Theory",
            labels={"title": "Statements"},
        ),
        notebook="<results>/notebooks/theory.ipynb",
        html="<results>/notebooks/theory.html",
    log:
        notebook="<results>/logs/notebooks/theory.ipynb",
        text="<results>/logs/notebooks/theory.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.theory.convergence"),
    shell:
        executed(
            "-p statements_path {input.statements} -p numbers_path {input.numbers}"
            " -p limits_path {input.limits} -p csv_path {output.csv}"
            " -p markdown_path {output.markdown}"
        )


rule appendix:
    input:
        notebook="notebooks/appendix.py",
        packing="<results>/theory/packing.csv",
        spaces="<results>/theory/search-space.csv",
    output:
        packing=report(
            "<results>/packing.csv",
            caption="../report/packing.rst",
            category="Theory",
            labels={"title": "Packing"},
        ),
        spaces=report(
            "<results>/search_space.csv",
            caption="../report/search_space.rst",
            category="Theory",
            labels={"title": "Search space"},
        ),
        notebook="<results>/notebooks/appendix.ipynb",
        html="<results>/notebooks/appendix.html",
    log:
        notebook="<results>/logs/notebooks/appendix.ipynb",
        text="<results>/logs/notebooks/appendix.log",
    conda:
        "../../environment.yml"
    params:
        code=source_digest("sbs.theory.studies"),
    shell:
        executed(
            "-p packing_path {input.packing} -p spaces_path {input.spaces}"
            " -p packing_csv {output.packing} -p spaces_csv {output.spaces}"
        )
