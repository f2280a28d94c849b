rule fetch:
    output:
        data="data/{dataset}.safetensors",
    log:
        "logs/fetch/{dataset}.log",
    conda:
        "../../environment.yml"
    params:
        directory=f"--directory {scale.data.directory}" if scale.data.directory else "",
        code=source_digest("sbs.data.fetch"),
    shell:
        "sbs fetch {wildcards.dataset} --output {output.data} {params.directory} > {log} 2>&1"
