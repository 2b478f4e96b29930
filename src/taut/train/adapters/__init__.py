"""The length rewards inside other people's trainers: one file a trainer, each in that trainer's own signature.

None of them imports its trainer: what a trainer hands over is read by its shape.
"""
