# The paper's statements, checked and measured. Nothing here depends on the scale.


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
