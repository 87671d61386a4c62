"""The whole loop as events in time, without arrays: how fast would it be on so many chips?"""
