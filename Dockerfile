# A server of a run, on CPU and without root; podman and buildah build it too:
#   docker build -t recgnn .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs/a:/served:ro" recgnn
# With a key, and with options of recgnn.serve: docker run -e RECGNN_API_KEY … recgnn --run /served --index faiss

FROM python:3.11-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps -c constraints.txt ${TORCH_INDEX:+--index-url $TORCH_INDEX} torch
COPY pyproject.toml README.md LICENSE ./
COPY conf ./conf
COPY recgnn ./recgnn
RUN pip install --no-cache-dir -c constraints.txt ".[serve,index]"

FROM python:3.11-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(r.Request('http://127.0.0.1:8000/health', headers={'X-API-Key': os.environ.get('RECGNN_API_KEY', '')}))"]
ENTRYPOINT ["python", "-m", "recgnn.serve", "--host", "0.0.0.0"]
CMD ["--run", "/served"]
