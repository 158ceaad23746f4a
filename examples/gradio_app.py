"""A page for the browser: a mesh and the names of its parts in; the parts in their colours, a table and a file out.

pip install gradio
python examples/gradio_app.py
"""

import tempfile

import gradio as gr

import pa3d
from pa3d.report import part_rows, write_outputs

SEGMENTER = pa3d.Segmenter.from_pretrained()
RESULTS = tempfile.TemporaryDirectory(prefix="pa3d-")  # until the program ends


def segment(file, names, category):
    parts = [name.strip() for name in names.split(",") if name.strip()]
    try:
        result = SEGMENTER.segment(file, parts, category=category.strip() or None)
    except (pa3d.InputError, TypeError) as error:
        raise gr.Error(str(error), print_exception=False) from error
    files = write_outputs(result, tempfile.mkdtemp(dir=RESULTS.name), pictures=False, html=False)
    rows = [(row.name, f"{row.share:.1%}", row.mean_confidence) for row in part_rows(result) if row.count]
    return str(files["painted"]), rows, str(files["parts"])


with gr.Blocks(title="pa3d") as page, gr.Row():
    with gr.Column():
        file = gr.File(label="Mesh", file_types=[".glb", ".obj", ".stl", ".off", ".ply"])
        names = gr.Textbox("seat, back, leg", label="Parts")
        category = gr.Textbox(label="Category, if you know it")
        button = gr.Button("Find parts", variant="primary")
    with gr.Column(scale=2):
        shown = gr.Model3D(label="Parts")
        table = gr.Dataframe(headers=["part", "share", "confidence"])
        named = gr.File(label="The mesh in named parts")
    gr.on([button.click, names.submit], segment, [file, names, category], [shown, table, named])

if __name__ == "__main__":
    page.launch()
