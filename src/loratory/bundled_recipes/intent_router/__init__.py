"""Exam-like questions and the field that each belongs to; data written for this recipe."""
